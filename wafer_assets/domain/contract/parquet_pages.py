"""What the pages of a Parquet file expand to, by their own headers, before any of them is unpacked.

The file's footer says so too, but whoever makes a file that bursts lets the footer lie. A page header is a struct of
Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), of which
the fields 2 and 3 are the sizes of the page (https://parquet.apache.org/docs/file-format/data-pages/).
"""

from typing import Any

MAX_PAGES = 100_000
_MAX_DEPTH = 8
_STOP, _TRUE, _FALSE, _BYTE, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12
_WIDTHS = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}  # bytes


class BadPageError(ValueError):
    """A page cannot be where the footer says, or is none."""

    code = "parquet_page_invalid"


def expanded_size(content: bytes, about: Any) -> int:
    """Return how many bytes the pages of a file take when they are unpacked.

    Parameters
    ----------
    content : bytes
        The whole file.
    about : pyarrow.parquet.FileMetaData
        Its footer, which says where the pages are.

    Returns
    -------
    int
        The larger of what the pages and what the footer say.

    Raises
    ------
    BadPageError
        The file is damaged.
    """
    said = found = pages = 0
    for group in range(about.num_row_groups):
        for column in range(about.num_columns):
            chunk = about.row_group(group).column(column)
            said += chunk.total_uncompressed_size
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                start = min(start, chunk.dictionary_page_offset)
            end = start + chunk.total_compressed_size
            if not 0 <= start <= end <= len(content):
                raise BadPageError("a page lies outside of the file")
            while start < end:
                pages += 1
                if pages > MAX_PAGES:
                    raise BadPageError(f"more than {MAX_PAGES:,} pages")
                expanded, packed, start = _page(content, start)
                found += expanded
                start += packed
    return max(said, found)


def _page(content: bytes, place: int) -> tuple[int, int, int]:
    """Return a page's size unpacked and packed, and where its header ends."""
    sizes = {2: -1, 3: -1}
    reader = _Compact(content, place)
    try:
        for number, value in reader.fields():
            if number in sizes:
                sizes[number] = value
    except IndexError:
        raise BadPageError("a page header ends in the middle") from None
    if min(sizes.values()) < 0:
        raise BadPageError("a page does not say how large it is")
    return sizes[2], sizes[3], reader.place


class _Compact:
    """Reads one struct, and skips all but its own numbers."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content, self.place = content, place

    def fields(self) -> list[tuple[int, int]]:
        """Return the numbers of the struct, by field."""
        found: list[tuple[int, int]] = []
        number = 0
        while (head := self._byte()) & 0x0F != _STOP:
            kind = head & 0x0F
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            if _BYTE < kind <= _I64:
                found.append((number, self._zigzag()))
            else:
                self._skip(kind, 0)
        return found

    def _byte(self) -> int:
        value = self._content[self.place]
        self.place += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise BadPageError("a number in a page header is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, kind: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise BadPageError("a page header is nested too deeply")
        if kind in _WIDTHS:
            self.place += _WIDTHS[kind]
        elif kind <= _I64:
            self._varint()
        elif kind == _BINARY:
            length = self._varint()
            self.place += length
        elif kind == _STRUCT:
            while (head := self._byte()) & 0x0F != _STOP:
                if not head >> 4:
                    self._zigzag()
                self._skip(head & 0x0F, depth + 1)
        else:
            self._skip_items(kind, depth)

    def _skip_items(self, kind: int, depth: int) -> None:
        """Skip a list, a set or a map."""
        if kind in (_LIST, _SET):
            head = self._byte()
            self._repeat(head >> 4 if head >> 4 < 15 else self._varint(), (head & 0x0F,), depth)
        elif kind == _MAP:
            if count := self._varint():
                kinds = self._byte()
                self._repeat(count, (kinds >> 4, kinds & 0x0F), depth)
        else:
            raise BadPageError("a page header holds what is none")

    def _repeat(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        if count > len(self._content):
            raise BadPageError("a page header says that it is larger than the file")
        for _ in range(count):
            for kind in kinds:
                # In a list, a truth value takes a byte of its own.
                self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)
