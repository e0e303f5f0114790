"""Formats: which one a file has, and a reader for each that a line may declare.

A reader hands on a `Sheet`, rows of texts, so that one set of checks judges every format. Nothing is unpacked beyond
the size that the line allows a file, whatever an archive or a page says of itself.
"""

import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.loader import MEGABYTE, BatchSchema
from wafer_assets.domain.contract.parquet_pages import BadPageError, expanded_size
from wafer_assets.domain.contract.reasons import Findings, Unit, shown

NAMES = {
    "csv": "CSV",
    "csv.gz": "CSV in a gzip archive",
    "json": "JSON",
    "jsonl": "JSON lines",
    "parquet": "Parquet",
}
# Keys that no record of the contract has; the rest of them is only counted.
MAX_UNKNOWN_KEYS = 1_000
ROWS_AT_ONCE = 500

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


class Recognised(NamedTuple):
    """What a file is.

    Attributes
    ----------
    what
        For people, such as "a gzip archive".
    formats
        Of `NAMES`, those that it may be.
    """

    what: str
    formats: tuple[str, ...] = ()


def recognise(content: bytes) -> Recognised | None:
    """Tell what a file is by how it begins; None for a text that may be a table."""
    for signature, what in _SIGNATURES:
        if content.startswith(signature):
            if what == "a zip archive" and b"xl/" in content[:4_096] + content[-4_096:]:
                return Recognised("an Excel workbook")
            formats = {"a gzip archive": ("csv.gz",), "a Parquet file": ("parquet",)}.get(what, ())
            return Recognised(what, formats)
    if content.startswith(_UTF16) or _is_wide(content[:200]):
        return Recognised("UTF-16 text")
    head = content[:2_048].removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"<(!doctype html|html|head|body)", head, re.IGNORECASE):
        title = re.search(rb"<title[^>]*>\s*(.*?)\s*</title", head, re.IGNORECASE | re.DOTALL)
        named = f" ({shown(title[1].decode(errors='replace'))[1:-1]})" if title else ""
        return Recognised(f"a web page{named}")
    if head.startswith(b"<?xml") or re.match(rb"<[A-Za-z:]+[ >]", head):
        return Recognised("XML")
    if re.match(rb"\[\s*[{\[\]]", head):
        return Recognised("a JSON file", ("json",))
    if re.match(rb'\{\s*["}]', head):
        lines = re.match(rb"\{[^\n]*\}\s*\n\s*\{", content) is not None
        return Recognised("a file of JSON lines", ("jsonl",)) if lines else Recognised("a JSON file", ("json", "jsonl"))
    return None


def _is_wide(head: bytes) -> bool:
    """Return whether every other byte is 0, as in UTF-16 without a mark."""
    zeros = [head[place::2].count(0) / max(len(head) // 2, 1) for place in (0, 1)]
    return len(head) >= 8 and max(zeros) > 0.9 and min(zeros) < 0.1


_REMEDIES = (
    ("gzip", "Unpack it, or agree on files.format in the contract."),
    ("archive", "Unpack it."),
    ("Excel", "Save it as {wanted}, in UTF-8."),
    ("web page", "Fetch the file again: a link has expired or asks for a login."),
    ("XML", "Fetch the file again, or export it as {wanted}."),
)


def is_as_declared(content: bytes, schema: BatchSchema, findings: Findings) -> bool:
    """Check that a file has the format of its contract, as far as its beginning tells."""
    found = recognise(content)
    declared = schema.format
    if (found is None and declared == "csv") or (found and declared in found.formats):
        return True
    wanted = NAMES[declared]
    if found is None:
        found = Recognised("a text, probably CSV" if content[:4_096].isascii() else "no such file")
    if found.what == "UTF-16 text":
        findings.add("encoding_not_utf8", "it is UTF-16", remedy=f"Save it as {wanted}, in UTF-8.")
        return False
    remedy = next((text for word, text in _REMEDIES if word in found.what), "Send {wanted}.").format(wanted=wanted)
    findings.add("format_other", f"this is {found.what}; the contract says {wanted}", remedy=remedy)
    return False


def unpacked(content: bytes, schema: BatchSchema, findings: Findings) -> bytes | None:
    """Unpack a gzip archive, up to the size that the line allows; None where there is something against it."""
    limit = schema.max_file_size
    try:
        with GzipFile(fileobj=io.BytesIO(content)) as archive:
            text = archive.read(limit + 1)
    except EOFError:
        findings.add("file_cut_off", "the gzip archive ends in the middle")
        return None
    except (BadGzipFile, zlib.error, OSError) as error:
        findings.add("file_malformed", f"the gzip archive is damaged ({shown(str(error))[1:-1]})")
        return None
    if len(text) > limit:
        findings.add("file_too_large", f"it expands to more than {schema.max_file_size_mb} MB")
        return None
    return text


@dataclass(slots=True)
class Sheet:
    """A table of texts, whatever format it came in.

    Attributes
    ----------
    header : list of str
        A name per column, as written.
    header_row : int or None
        Line of the header; None where the format has none.
    rows : iterator of (int, list of str)
        What findings call each row, and its cells, as many as the header has.
    sample : list of list of str
        The first rows, for guesses about columns.
    decimal : str
        The decimal sign of its numbers.
    unit : {"line", "row", "wafer"}
        What numbers of rows count.
    whole : bool
        Whether all rows were handed on; settled when `rows` is at its end.
    """

    header: list[str]
    header_row: int | None
    rows: Iterator[tuple[int, list[str]]]
    sample: list[list[str]]
    decimal: str = "."
    unit: Unit = "line"
    whole: bool = True


class _Record(dict[str, Any]):
    """A JSON object that knows which keys it has more than once."""

    repeated: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> "_Record":
        record = cls(pairs)
        if len(record) < len(pairs):
            names = [name for name, _ in pairs]
            record.repeated = tuple(name for name in record if names.count(name) > 1)
        return record


# Numbers stay texts, so that they are read exactly once, like those of every other format.
_DECODER = json.JSONDecoder(object_pairs_hook=_Record.of, parse_float=str, parse_int=str, parse_constant=str)


def json_sheet(text: str, schema: BatchSchema, findings: Findings) -> Sheet | None:
    """Read JSON records or JSON lines, one object a wafer; None where the file cannot be read."""
    records: list[tuple[int, _Record]] = []
    keys: dict[str, None] = {}  # in the order of their first use
    whole = True
    try:
        for number, value in _json_lines(text) if schema.format == "jsonl" else _json_values(text):
            if not isinstance(value, _Record):
                findings.add("row_not_a_wafer", f"{shown(str(value))} instead of an object", kind="", row=number)
                whole = False
                continue
            for name in value.repeated:
                findings.add("column_repeated", "the key is there twice", row=number, column=shown(name)[1:-1])
            known = {name: None for name in value if name in schema.columns or len(keys) < MAX_UNKNOWN_KEYS}
            keys |= known
            records.append((number, value))
            if len(records) * max(len(keys), 10) > schema.max_file_size:
                findings.add("file_too_large", f"more than {len(records):,} wafers of {len(keys):,} keys")
                return None
    except _NotJsonError as error:
        findings.add("file_cut_off" if error.cut else "file_malformed", str(error), row=error.row)
        whole = False
        if error.cut or not records:
            return None
    if not records:
        findings.add("csv_no_rows", "no object at all")
        return None
    header = list(keys)
    rows = ((number, [_json_cell(record.get(name)) for name in header]) for number, record in records)
    sample = [[_json_cell(record.get(name)) for name in header] for _, record in records[:50]]
    return Sheet(header, None, rows, sample, unit="wafer", whole=whole)


class _NotJsonError(ValueError):
    def __init__(self, message: str, row: int | None, *, cut: bool = False) -> None:
        super().__init__(message)
        self.row, self.cut = row, cut


def _decode(text: str, start: int, number: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        cut = not text[error.pos :].strip() or error.msg.startswith("Unterminated string")
        what = f"{error.msg} on line {error.lineno}, character {error.colno}"
        raise _NotJsonError("the JSON ends in the middle" if cut else what, number, cut=cut) from None
    except RecursionError:
        raise _NotJsonError("values are nested too deeply", number) from None


def _json_values(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the elements of a JSON list, one at a time."""
    skip = re.compile(r"\s*")

    def after_blanks(place: int) -> int:
        return skip.match(text, place).end()  # type: ignore[union-attr]

    place = after_blanks(0)
    if not text.startswith("[", place):
        raise _NotJsonError("one JSON object instead of a list of objects, one a wafer", None)
    place, number = after_blanks(place + 1), 0
    while not text.startswith("]", place):
        number += 1
        value, place = _decode(text, place, number)
        yield number, value
        place = after_blanks(place)
        if text.startswith(",", place):
            place = after_blanks(place + 1)
        elif not text.startswith("]", place):
            cut = place == len(text)
            raise _NotJsonError("the JSON ends in the middle" if cut else "no comma behind it", number, cut=cut)
    if text[place + 1 :].strip():
        raise _NotJsonError(f"{shown(text[place + 1 :].strip())} behind the list", None)


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the value of each line."""
    number = 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        number += 1
        value, end = _decode(line.strip(), 0, number)
        if line.strip()[end:].strip():
            raise _NotJsonError(f"{shown(line.strip()[end:])} behind the object", number)
        yield number, value


def _json_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value)[:1_000]


def parquet_sheet(content: bytes, schema: BatchSchema, findings: Findings) -> Sheet | None:
    """Read a Parquet file; None where it cannot be read, or would expand beyond what the line allows."""
    import pyarrow.parquet as pq

    limit = schema.max_file_size
    try:
        about = pq.read_metadata(pa.BufferReader(content))
        leaves = [about.schema.column(place) for place in range(about.num_columns)]
        if nested := [leaf.path for leaf in leaves if leaf.max_repetition_level or "." in leaf.path]:
            findings.add("file_malformed", "lists and groups are no columns", column=shown(nested[0])[1:-1])
            return None
        cells = about.num_rows * max(about.num_columns, 1)
        pages = expanded_size(content, about)
        if cells * 8 > limit or pages > limit:
            size = max(cells * 8, pages) / MEGABYTE
            findings.add("file_too_large", f"it expands to {size:,.1f} MB, at most {schema.max_file_size_mb} MB")
            return None
        # One text that a million rows refer to stays one text.
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        file = pq.ParquetFile(pa.BufferReader(content), metadata=about, read_dictionary=texts)
        header = [leaf.path for leaf in leaves]
        sample = next((_parquet_rows(batch) for batch in file.iter_batches(50, use_threads=False)), [])
    except (pa.ArrowException, BadPageError, OSError, ValueError, KeyError, IndexError) as error:
        findings.add("file_malformed", f"the Parquet file is damaged ({shown(str(error))[1:-1]})")
        return None
    sheet = Sheet(header, None, iter(()), sample, unit="row")

    def rows() -> Iterator[tuple[int, list[str]]]:
        number = 0
        try:
            for batch in file.iter_batches(ROWS_AT_ONCE, use_threads=False):
                for cells in _parquet_rows(batch):
                    number += 1
                    if number > about.num_rows:
                        raise ValueError("more rows than it says")
                    yield number, cells
        except (pa.ArrowException, OSError, ValueError) as error:
            sheet.whole = False
            findings.add("file_malformed", f"the Parquet file is damaged ({shown(str(error))[1:-1]})", row=number + 1)

    sheet.rows = rows()
    return sheet


def _parquet_rows(batch: pa.RecordBatch) -> list[list[str]]:
    return [list(cells) for cells in zip(*map(_parquet_column, batch.columns), strict=True)]


def _parquet_column(column: pa.Array) -> list[str]:
    if isinstance(column, pa.DictionaryArray):
        texts = [_parquet_cell(value) for value in column.dictionary.to_pylist()]
        return ["" if place is None else texts[place] for place in column.indices.to_pylist()]
    return [_parquet_cell(value) for value in column.to_pylist()]


def _parquet_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value[:1_000]
    if isinstance(value, float):
        return repr(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)[:1_000]
