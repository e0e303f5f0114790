"""Releasing held batches: a person lets in a file that keeps the contract and contradicts what the line has seen.

Why a batch is held is `wafer_assets.domain.contract.suspicions`', what then becomes of it `ingestion`'s.
"""

from datetime import UTC, datetime

from resources.mongo import WaferStore
from resources.releases import Release, ReleaseLog
from schemas.lines import LineFeed


class NotHeldError(LookupError):
    """There is no held batch of that name."""

    code = "batch_not_held"


def release(wafers: WaferStore, log: ReleaseLog, feed: LineFeed, batch: str, *, by: str, reason: str) -> Release:
    """Write down that a held batch may be ingested; the next ingestion of this very file accepts it.

    Parameters
    ----------
    wafers, log
        Where batches are, and where releases are written down.
    feed, batch
        The batch.
    by
        Who decides.
    reason
        Why, in words.

    Returns
    -------
    Release
        As it was written down.

    Raises
    ------
    NotHeldError
        The batch is not held.
    """
    held = {item.batch: item for item in wafers.batches(feed, "held")}
    if batch not in held:
        raise NotHeldError(
            f"{batch!r} is not held. `wafer quarantine list --line {feed.line} --feed {feed.kind}` shows what is."
        )
    manifest = held[batch]
    record = Release(
        at=datetime.now(UTC),
        line=feed.line,
        feed=feed.kind,
        batch=batch,
        etag=manifest.etag,
        by=by,
        reason=reason,
        held_for=manifest.reasons,
    )
    log.append(record)
    return record
