"""Judgements: what would become of a file, and the pages that say so to a partner."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.loader import BatchSchema
from wafer_assets.domain.contract.reasons import Reason
from wafer_assets.domain.contract.suspicions import find_holds
from wafer_assets.domain.contract.verdict import Refused, validate

Verdict = Literal["accepted", "held", "refused"]
_FIELDS = ("code", "row", "column", "count", "message", "remedy")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What would become of a file.

    Attributes
    ----------
    file : str
        Its name.
    verdict : {"accepted", "held", "refused"}
        As far as the contract alone tells; what the line has stored may speak against an accepted one.
    reasons : tuple of Reason
        Why it is not accepted.
    warnings : tuple of Reason
        What somebody should look at besides.
    wafers : int
        How many it holds; 0 of a refused one.
    """

    file: str
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    wafers: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, for programs."""
        return {
            "file": self.file,
            "verdict": self.verdict,
            "reasons": [_plain(reason) for reason in self.reasons],
            "warnings": [_plain(warning) for warning in self.warnings],
        }


def judge(file: str, name: str, content: bytes, schema: BatchSchema) -> Judgement:
    """Judge a file by its contract alone.

    Parameters
    ----------
    file : str
        What the judgement calls it.
    name : str
        The file's name, without any folder.
    content : bytes
        The whole file.
    schema : BatchSchema
        The contract of the line's feed.

    Returns
    -------
    Judgement
        What would become of it.
    """
    result = validate(name, content, schema)
    if isinstance(result, Refused):
        return Judgement(file, "refused", result.reasons)
    held = find_holds(result.frame, schema)
    return Judgement(file, "held" if held else "accepted", held, result.warnings, len(result.frame))


def judgement_page(judgements: Sequence[Judgement], schema: BatchSchema) -> bytes:
    """Say what would become of files, on a page for their sender.

    Parameters
    ----------
    judgements : sequence of Judgement
        One a file.
    schema : BatchSchema
        The contract that they were checked against.

    Returns
    -------
    bytes
        An HTML page in UTF-8, which loads nothing and runs no script.
    """
    from wafer_assets.domain.report import render_page

    return render_page(
        "check.html.j2",
        line=schema.line,
        feed=schema.feed,
        contract=schema.contract_version,
        counts={
            verdict: sum(each.verdict == verdict for each in judgements) for verdict in ("accepted", "held", "refused")
        },
        judgements=judgements,
    )


def _plain(reason: Reason) -> dict[str, Any]:
    return {name: getattr(reason, name) for name in _FIELDS}
