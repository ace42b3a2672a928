"""Files that are written whole or not at all name what is in their way."""

import pytest

from sklearn_unlocknn import VGPRegressor, save_model, write_report


def test_missing_and_wrong_folders_are_named(tmp_path):
    model = VGPRegressor("rbf", max_iter=0).fit([[0.0], [1.0]], [0.0, 1.0])
    missing = tmp_path / "none" / "model.unlocknn"
    for write in (
        lambda path: save_model(model, path),
        lambda path: write_report(model, [[0.5], [0.7]], [0.0, 1.0], path),
    ):
        with pytest.raises(
            FileNotFoundError, match=r"There is no folder .*none'.*Make"
        ):
            write(missing)
        with pytest.raises(IsADirectoryError, match="is a folder, expected a file"):
            write(tmp_path)
    assert not list(tmp_path.iterdir())
