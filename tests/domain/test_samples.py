"""Reading sample files of every format that a line may declare, without a declaration."""

import gzip
import io
import json

import pandas as pd
import pytest

from wafer_assets.domain.samples import InferenceError, Layout, read_samples

FRAME = pd.DataFrame({"wafer": ["a/1", "a/2"], "s1": [1.5, None], "s2": [-2.25, 1000.0], "tool": ["x,y", "z"]})
CELLS = {"wafer": ("a/1", "a/2"), "s1": ("1.5", ""), "s2": ("-2.25", "1000.0"), "tool": ("x,y", "z")}
RECORDS = [
    {"wafer": "a/1", "s1": 1.5, "s2": -2.25, "tool": "x,y"},
    {"wafer": "a/2", "s1": None, "s2": 1000.0, "tool": "z"},
]


def parquet() -> bytes:
    file = io.BytesIO()
    FRAME.to_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "layout"),
    [
        ("a.csv", FRAME.to_csv(index=False).encode(), Layout()),
        ("a.CSV", FRAME.to_csv(index=False, sep="\t").encode(), Layout(delimiter="\t")),
        ("a.csv", FRAME.to_csv(index=False, sep=";", decimal=",").encode(), Layout(delimiter=";", decimal=",")),
        ("a.csv.gz", gzip.compress(FRAME.to_csv(index=False).encode()), Layout("csv.gz")),
        ("a.json", json.dumps(RECORDS).encode(), Layout("json")),
        ("a.jsonl", "\n".join(map(json.dumps, RECORDS)).encode(), Layout("jsonl")),
        ("a.parquet", parquet(), Layout("parquet")),
    ],
    ids=["csv", "tabs", "decimal comma", "gzip", "json", "json lines", "parquet"],
)
def test_samples_of_every_format_hold_the_same_cells(name: str, content: bytes, layout: Layout) -> None:
    found, (sample,) = read_samples({f"folder/{name}": content})
    assert found == layout
    assert dict(sample.columns) == CELLS


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.csv": b"a,b\nx,1\n", "b.csv": b"a;b\nx;1\n"}, "'b.csv' is separated by ';' and 'a.csv' by ','"),
        ({"a.csv": b'[{"a": 1}]'}, "'a.csv': .*JSON.* the contract says CSV"),
        ({"a.csv.gz": b"a,b\nx,1\n"}, "'a.csv.gz': "),
        ({"a.csv.gz": gzip.compress(b"a,b\nx,1\n")[:-9]}, "ends in the middle"),
        ({"a.csv.gz": gzip.compress(bytes(101_000_000), compresslevel=1)}, "expands to more than 100 MB"),
        ({"a.json": b'[{"a": 1'}, "ends in the middle"),
        ({"a.parquet": b"PAR1 and no more"}, "damaged"),
    ],
)
def test_what_cannot_be_read_is_named(files: dict[str, bytes], said: str) -> None:
    with pytest.raises(InferenceError, match=said):
        read_samples(files)
