"""The file contract: a batch file's name and bytes in, a normalised frame or every reason for refusal out.

Belongs here: what a partner's file must look like beyond its schema, which is `schemas`, and what is said of one
that does not. Where files come from and where they go does not.

A file that keeps the contract passes `quick` and costs no more. Any other is read carefully: `formats` and `layout` say
what the file as a whole is, `columns` what its headers mean, `rows` and `cells` what it holds, and each explains what
it can, so that one mistake gets one of the `reasons`. `verdict` puts it together; `suspicions` looks at what passed,
and `repair` mends what can be mended without changing a value.
"""

from wafer_assets.domain.contract.reasons import (
    CLAUSES,
    HOLDS,
    KINDS,
    MAX_REASONS_PER_CODE,
    REASONS,
    WARNINGS,
    Reason,
    ReasonKind,
)
from wafer_assets.domain.contract.rows import BY_CHANCE
from wafer_assets.domain.contract.suspicions import History, find_holds
from wafer_assets.domain.contract.verdict import Accepted, Refused, check_object, validate

__all__ = [
    "BY_CHANCE",
    "CLAUSES",
    "HOLDS",
    "KINDS",
    "MAX_REASONS_PER_CODE",
    "REASONS",
    "WARNINGS",
    "Accepted",
    "History",
    "Reason",
    "ReasonKind",
    "Refused",
    "check_object",
    "find_holds",
    "validate",
]
