"""Pretrained networks: names, files, and the real ones where they exist."""

import os

import pytest

from sklearn_unlocknn._megnet.compat import import_megnet
from sklearn_unlocknn.datasets import MEGNET_MODELS, _cache, fetch_megnet_model


def test_names_are_those_of_megnet():
    import_megnet()
    from megnet.utils.models import MODEL_MAPPING

    ours = {k: v.removeprefix("megnet/") for k, v in MEGNET_MODELS.items()}
    # megnet lists the QM9 networks by a template of its own
    crystals = {k: v for k, v in ours.items() if "QM9" not in k}
    assert crystals == {k: v for k, v in MODEL_MAPPING.items() if "QM9" not in k}
    assert ours["QM9_gap_2018"] == "qm9-2018.6.1/gap.hdf5"


def test_every_network_is_in_the_registry():
    assert len(MEGNET_MODELS) == 22
    for path in MEGNET_MODELS.values():
        for file in (path, path + ".json"):
            assert _cache.registry()[file]["url"].endswith(file.split("megnet/")[1])


def test_unknown_name():
    with pytest.raises(
        ValueError, match=r"'Eform_MP_2091', .* one of \['Eform_MP_2019"
    ):
        fetch_megnet_model("Eform_MP_2091")
    with pytest.raises(ValueError, match="Got `name`=3, expected one of"):
        fetch_megnet_model(3)


def test_missing_files_are_named_together(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        fetch_megnet_model(
            "logK_MP_2018", data_home=tmp_path, download_if_missing=False
        )
    for suffix in ("hdf5", "hdf5.json"):
        file = tmp_path / "megnet" / "mp-2018.6.1" / f"log10K.{suffix}"
        assert f"log10K.{suffix} -> {file}" in str(error.value)


DATA = os.environ.get("SKLEARN_UNLOCKNN_DATA")


@pytest.mark.skipif(DATA is None, reason="SKLEARN_UNLOCKNN_DATA is not set")
def test_real_networks():
    names = ["Eform_MP_2019", "Efermi_MP_2019", "logK_MP_2018", "Bandgap_MP_2018"]
    for name in names:
        path = fetch_megnet_model(name, download_if_missing=False)
        assert path.is_file()
        assert path.with_name(path.name + ".json").is_file()
