"""Columns: which column of the contract each header means, and what is wrong with the others.

A header says what a column is called, and the first rows what it holds: both are asked before somebody is told to
rename or to remove a column, for following that must never put row numbers or dates where the wafers' ids belong.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from schemas.loader import BatchSchema
from wafer_assets.domain.contract.cells import BLANKS, UNDECODED, is_moment, is_number
from wafer_assets.domain.contract.formats import Sheet
from wafer_assets.domain.contract.reasons import Findings, listed, shown

# Unknown headers compared with the missing ones; the rest of a header of millions is only counted.
MAX_UNEXPECTED_COLUMNS = 10_000

_CHANGES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("in lower case", str.lower),
    ("in capitals", str.upper),
    ("with an underscore", lambda name: re.sub(r"[\W_]+", "_", name)),
    ("with an underscore, in lower case", lambda name: re.sub(r"[\W_]+", "_", name).lower()),
    ("with a dash", lambda name: re.sub(r"[\W_]+", "-", name)),
    ("with a blank", lambda name: re.sub(r"[\W_]+", " ", name)),
    ("without a dash", lambda name: re.sub(r"[\W_]+", "", name)),
)


def spelling(header: str) -> str:
    """Reduce a header to what survives a careless export: `Sensor - 5` and `sensor_5` are the same."""
    return re.sub(r"[\W_]", "", header).casefold()


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a contract knows.

    Attributes
    ----------
    columns : mapping of str to str
        Columns and aliases as written, to the column.
    spellings : mapping of str to str
        The same by `spelling`.
    labels : frozenset of str
        Spellings under which the line knows its label, in whatever feed.
    """

    columns: Mapping[str, str]
    spellings: Mapping[str, str]
    labels: frozenset[str]

    @classmethod
    def of(cls, schema: BatchSchema) -> "Names":
        """Return the names of a contract."""
        written = {name: name for name in schema.columns} | dict(schema.header_aliases)
        spellings = {spelling(name): column for name, column in written.items() if spelling(name)}
        labels = {spelling(name) for name in (*schema.label_names, schema.label or "")}
        return cls(written, spellings, frozenset(labels) - {""})

    def are_in(self, cells: Sequence[str]) -> bool:
        """Return whether a row looks like a header: one of four names is the contract's."""
        written = [cell for cell in cells if cell]
        exact = sum(cell in self.columns for cell in written)
        if exact * 4 < len(written):
            exact = sum(spelling(cell) in self.spellings for cell in written)
        return exact > 0 and exact * 4 >= len(written)

    def is_label(self, header: str) -> bool:
        """Return whether a header is a name of the label."""
        return spelling(header) in self.labels


def match_columns(sheet: Sheet, schema: BatchSchema, findings: Findings) -> dict[int, str] | None:
    """Map places in the header to columns of the contract, and note what is wrong with the header.

    Returns
    -------
    dict of int to str or None
        Those of repeated and renamed headers included; None where the header is a foreign one, so that nothing can be
        said of its columns.
    """
    return _Match(sheet, schema, findings).columns()


class _Match:
    def __init__(self, sheet: Sheet, schema: BatchSchema, findings: Findings) -> None:
        self._sheet, self._schema, self._findings = sheet, schema, findings
        self._header, self._row = sheet.header, sheet.header_row
        self._names = Names.of(schema)
        self._matched: dict[int, str] = {}
        self._unexpected: dict[int, str] = {}
        self._uncounted = 0
        self._missing = dict.fromkeys(schema.columns)

    def columns(self) -> dict[int, str] | None:
        self._match_names()
        if self._is_foreign():
            return None
        self._match_spellings()
        self._match_contents()
        self._match_places()
        self._tell_unexpected()
        self._tell_missing()
        return self._matched

    def _match_names(self) -> None:
        """Match the headers that are written as agreed."""
        schema, header = self._schema, self._header
        places: dict[str, list[int]] = {}
        for place, written in enumerate(header):
            name = schema.column_of(written, place)
            if name in schema.columns:
                places.setdefault(name, []).append(place)
            elif len(self._unexpected) < MAX_UNEXPECTED_COLUMNS:
                self._unexpected[place] = written
            else:
                self._uncounted += 1
        for name, found in places.items():
            # Where one of several is named in full, the others are not this column: an index beside the ids.
            exact = [place for place in found if header[place] == name]
            if name == schema.wafer and len(found) > 1 and len(exact) <= 1:
                ids = exact or [place for place in found if self._may_be_ids(place)][:1] or found[:1]
                self._unexpected |= {place: header[place] for place in found if place not in ids}
                found = ids
            for place in found[1:]:
                again = f"again in place {place + 1:,}"
                self._findings.add("column_repeated", again, kind="", row=self._row, column=name)
            self._matched |= dict.fromkeys(found, name)
            self._missing.pop(name)

    def _is_foreign(self) -> bool:
        """Tell a header whose names are all others, such as numbers."""
        count = len(self._unexpected) + self._uncounted
        spelt = sum(spelling(written) in self._names.spellings for written in self._unexpected.values())
        if not (len(self._missing) * 2 > len(self._schema.columns) and count * 2 > len(self._header) > 2 * spelt):
            return False
        if len(self._schema.columns) < 8 and len(self._header) == len(self._schema.columns) and self._matched:
            return False
        names = [shown(written) for written in self._unexpected.values() if not written.isdigit()]
        numbers = [written for written in self._unexpected.values() if written.isdigit()]
        if len(numbers) > 4:
            names.append(f"numbers from {shown(numbers[0])[1:-1]} to {shown(numbers[-1])[1:-1]}")
        found = f"{count:,} columns have names that the contract does not know: {', '.join(names[-1:] + names[:3])}"
        remedy = "Restore the names of the contract; every row needs its wafer id."
        self._findings.add("column_renamed", found, row=self._row, remedy=remedy, count=count)
        return True

    def _match_spellings(self) -> None:
        """Match the headers that are spelt a little differently."""
        wanted = {spelling(name): name for name in self._missing}
        wanted |= {
            spelt: name
            for spelt, name in self._names.spellings.items()
            if name in self._missing and spelt not in wanted
        }
        renamed: dict[str, list[tuple[str, str, int]]] = {}
        for place, written in self._unexpected.items():
            name = wanted.get(spelling(written))
            if name in self._missing:
                del self._missing[name]
                self._matched[place] = name
                renamed.setdefault(self._change(name, written), []).append((written, name, place))
        self._unexpected = {place: written for place, written in self._unexpected.items() if place not in self._matched}
        if sum(map(len, renamed.values())) > len(renamed) > 1:
            renamed = {"in another way": [entry for entries in renamed.values() for entry in entries]}
        for how, entries in renamed.items():
            self._tell_renamed(how, entries)

    def _tell_renamed(self, how: str, entries: Sequence[tuple[str, str, int]], unless: str = "") -> None:
        """Tell of headers as written, and their columns, all at once."""
        told = [(written, name) for written, name, _ in entries if not UNDECODED.search(written)]
        if len(told) == 1:
            self._rename(*told[0], f"Rename it to {told[0][1]}{unless}.")
        elif told:
            written, name = told[0]
            found = f"{len(told):,} columns are named {how} ({shown(written)} for {name})"
            remedy = f"Restore the names of the contract{unless}."
            self._findings.add("column_renamed", found, row=self._row, column=name, remedy=remedy, count=len(told))

    def _change(self, name: str, written: str) -> str:
        aliases = [alias for alias, column in self._schema.header_aliases.items() if column == name]
        for how, change in _CHANGES:
            if written in (change(each) for each in (name, *aliases)):
                return how
        return "in another way"

    def _rename(self, written: str, name: str, remedy: str) -> None:
        self._findings.add("column_renamed", shown(written), kind=name, row=self._row, column=name, remedy=remedy)

    def _match_contents(self) -> None:
        """Find the wafers' ids and the labels by what the columns hold."""
        schema = self._schema
        claimed = next((place for place, name in self._matched.items() if name == schema.wafer), None)
        if claimed is not None and _is_unnamed(self._header[claimed]) and not self._may_be_ids(claimed):
            # The header without a name stands over an index, and the ids are beside it.
            if (place := self._ids_among_unnamed()) is not None:
                del self._matched[claimed]
                self._unexpected[claimed] = self._header[claimed]
                self._take(place, schema.wafer)
        elif claimed is None and (place := self._ids_among_unnamed()) is not None and 0 in self._unexpected:
            self._take(place, schema.wafer)
        elif claimed is None:
            named = [place for place, written in self._unexpected.items() if written and self._may_be_ids(place)]
            if len(named) == 1:
                written = self._unexpected[named[0]]
                self._take(named[0], schema.wafer)
                self._rename(written, schema.wafer, f"Rename it to {schema.wafer}, if it holds the wafers' ids.")
        if schema.label in self._missing:
            labels = [place for place in self._unexpected if self._holds_labels(place)]
            if len(labels) == 1 and schema.label is not None and self._unexpected[labels[0]]:
                written = self._unexpected[labels[0]]
                self._take(labels[0], schema.label)
                self._rename(written, schema.label, f"Rename it to {schema.label}, if it holds the labels.")

    def _take(self, place: int, name: str) -> None:
        self._unexpected.pop(place, None)
        self._missing.pop(name, None)
        self._matched[place] = name

    def _ids_among_unnamed(self) -> int | None:
        unnamed = (place for place, written in self._unexpected.items() if _is_unnamed(written))
        return next((place for place in unnamed if self._may_be_ids(place)), None)

    def _match_places(self) -> None:
        """Take a foreign header in the place of a missing sensor for its other name."""
        schema = self._schema
        order = list(schema.columns) if len(self._header) == len(schema.columns) else []
        sensors = set(schema.sensors)
        taken: list[tuple[str, str, int]] = []
        for place, written in list(self._unexpected.items()) if order else ():
            name = order[place]
            if written and name in self._missing and name in sensors and not self._holds_no_reading(place):
                self._take(place, name)
                taken.append((written, name, place))
        self._tell_renamed("in another way", taken, ", if it is this sensor" if len(taken) == 1 else "")

    def _tell_unexpected(self) -> None:
        others: list[tuple[int, str]] = []
        for place, written in self._unexpected.items():
            if UNDECODED.search(written):
                continue
            name = shown(written)[1:-1] or f"in place {place + 1:,}"
            if self._names.is_label(written) and self._schema.label is None:
                if self._is_empty(place):
                    found = f"{shown(written)}, which is empty"
                    remedy = "Remove it: files to be predicted have no labels."
                    self._findings.add("column_unexpected", found, row=self._row, column=name, remedy=remedy)
                else:
                    self._findings.add(
                        "labels_unexpected", f"in the column {shown(written)}", row=self._row, column=name
                    )
            elif self._counts_rows(place) and (_is_unnamed(written) or place == 0):
                self._tell_row_numbers(place, name)
            else:
                others.append((place, written))
        if others or self._uncounted:
            self._tell_others(others)

    def _tell_row_numbers(self, place: int, name: str) -> None:
        column = "first column" if place == 0 else f"column in place {place + 1:,}"
        cells = ", ".join(self._cells(place)[:3])
        ids = next((other for other, matched in self._matched.items() if matched == self._schema.wafer), None)
        keep = f", never the one in place {ids + 1:,}: that one holds the wafers' ids" if ids is not None else ""
        remedy = f"Export the table without its index. Remove the {column}{keep}."
        found = f"the {column} holds {shown(cells)[1:-1]}, ..."
        self._findings.add("column_row_numbers", found, row=self._row, column=name, remedy=remedy)

    def _tell_others(self, others: list[tuple[int, str]]) -> None:
        count = len(others) + self._uncounted
        names = [
            shown(written) if written else f"one without a name in place {place + 1:,}" for place, written in others
        ]
        place, written = others[0]
        found = listed(names) if count > 1 else f"{names[0]}{f', in place {place + 1:,}' if written else ''}"
        found = f"{count:,} columns: {found}" if count > 4 else found
        column = shown(written)[1:-1] or f"in place {place + 1:,}"
        remedy = f"Remove the column {column}" if count == 1 else "Remove them"
        remedy += ", or agree on it in the contract." if count == 1 else ", or agree on them in the contract."
        self._findings.add("column_unexpected", found, row=self._row, column=column, remedy=remedy, count=count)

    def _tell_missing(self) -> None:
        # Optional columns may be absent; where others are, the header is broken and all of it is told.
        missing, schema = list(self._missing), self._schema
        if not self._missing.keys() - set(schema.optional_columns):
            return
        if schema.label in self._missing:
            missing.remove(schema.label)
            aliases = [alias for alias, column in schema.header_aliases.items() if column == schema.label and alias]
            names = " or ".join([shown(name) for name in aliases] + [shown(schema.label)])
            self._findings.add("labels_absent", f"there is no column {names}", row=self._row, column=schema.label)
            if not set(missing) - set(schema.optional_columns):
                return
        if missing:
            found = f"there is no {listed(missing)}"
            found = f"{len(missing):,} columns: {found}" if len(missing) > 1 else found
            self._findings.add("column_missing", found, row=self._row, column=missing[0], count=len(missing))

    def _cells(self, place: int) -> list[str]:
        return [row[place].strip(BLANKS) for row in self._sheet.sample if place < len(row)]

    def _is_empty(self, place: int) -> bool:
        return not any(self._cells(place))

    def _counts_rows(self, place: int) -> bool:
        cells = self._cells(place)
        return bool(cells) and any(cells == [str(start + row) for row in range(len(cells))] for start in (0, 1))

    def _may_be_ids(self, place: int) -> bool:
        """Return whether a column holds what wafers may be called, and no numbers or dates."""
        cells = self._cells(place)
        if not cells or len(set(cells)) < len(cells) or not all(cells) or self._counts_rows(place):
            return False
        fits = re.compile(self._schema.wafer_id.pattern).fullmatch
        fitting = sum(fits(cell) is not None for cell in cells)
        numbers = sum(is_number(cell) and not cell.isdigit() for cell in cells)
        return fitting * 2 > len(cells) and numbers * 2 < len(cells) and not any(map(is_moment, cells))

    def _holds_labels(self, place: int) -> bool:
        cells = self._cells(place)
        return bool(cells) and all(cell in self._schema.label_values for cell in cells)

    def _holds_no_reading(self, place: int) -> bool:
        cells = [cell for cell in self._cells(place) if cell]
        return bool(cells) and (
            sum(map(is_number, cells)) * 2 < len(cells) or (self._counts_rows(place) and place == 0)
        )


def _is_unnamed(header: str) -> bool:
    return not header.strip(BLANKS) or re.fullmatch(r"Unnamed: [0-9.]+|index|level_[0-9]", header) is not None
