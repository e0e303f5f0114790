"""Folders of small lines, for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SMALL: dict[str, Any] = {
    "format": 1,
    "line": "small",
    "title": "Small line",
    "contract": "1.0",
    "files": {
        "name": "wafer_{stamp}.csv",
        "stamp": "%d%m%Y_%H%M%S",
        "header_aliases": {"": "Wafer", "Good/Bad": "Output"},
        "max_size_mb": 1,
    },
    "labels": {"passed": ["-1"], "faulty": ["1", "+1"]},
    "sensors": {"Sensor-2": {"optional": True}},
    "alarm": {"capacity": 0.1},
}
COLUMNS = {"Wafer": "varchar", "Sensor-1": "float", "Sensor-2": "float"}
LABEL = {"Output": "Integer"}
SAMPLE: dict[str, Any] = {"name": "wafer_08012020_120000.csv", "lengths": (8, 6)}


def schema_file(columns: Mapping[str, str], sample: Mapping[str, Any] = SAMPLE) -> dict[str, Any]:
    """Return the content of a schema file."""
    return {
        "SampleFileName": sample["name"],
        "LengthOfDateStampInFile": sample["lengths"][0],
        "LengthOfTimeStampInFile": sample["lengths"][1],
        "NumberofColumns": len(columns),
        "ColName": dict(columns),
    }


def write_line(
    parent: Path,
    declaration: Mapping[str, Any] = SMALL,
    columns: Mapping[str, str] = COLUMNS,
    sample: Mapping[str, Any] = SAMPLE,
    name: str | None = None,
) -> Path:
    """Write the folder of a line, named as the line or otherwise; return it."""
    folder = parent / (name or str(declaration["line"]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "line.yaml").write_text(yaml.safe_dump(dict(declaration), sort_keys=False), encoding="utf-8")
    for feed, described in (("training", {**columns, **LABEL}), ("prediction", columns)):
        (folder / f"schema_{feed}.json").write_text(json.dumps(schema_file(described, sample)), encoding="utf-8")
    return folder
