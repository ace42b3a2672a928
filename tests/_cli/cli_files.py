"""Files that the command line reads: the same data in every layout."""

import csv
import gzip
import json


def write_csv(path, names, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def write_layouts(folder, crystals, energies):
    """Write crystals as CIF files, and with their energies as tables and as JSON."""
    (folder / "cifs").mkdir()
    records = []
    for i, (structure, value) in enumerate(zip(crystals, energies, strict=True)):
        path = f"cifs/{i:02d}.cif"
        (folder / path).write_text(structure.to(fmt="cif"))
        records.append([i, (folder / path).read_text(), path, repr(float(value))])
    crystals[0].to(fmt="poscar", filename=str(folder / "POSCAR"))
    names = ["id", "cif", "path", "energy"]
    write_csv(folder / "both.csv", names, records)
    write_csv(
        folder / "texts.csv", [*names[:2], "energy"], [[*r[:2], r[3]] for r in records]
    )
    write_csv(folder / "paths.csv", ["where", "energy"], [r[2:] for r in records])
    split = {
        "index": list(range(len(crystals))),
        "columns": names[1:],
        "data": [r[1:] for r in records],
    }
    (folder / "split.json").write_text(json.dumps(split))
    dicts = [
        {"structure": structure.as_dict(), "energy": str(value)}
        for structure, value in zip(crystals, energies, strict=True)
    ]
    with gzip.open(folder / "records.json.gz", "wt") as file:
        json.dump(dicts, file)
