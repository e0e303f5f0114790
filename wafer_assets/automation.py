"""Named automation conditions: when an asset is brought up to date without anybody asking.

Files land at any time, so every condition remembers what it has not handled yet: an update during a missed tick,
a restart or a running backfill is taken up at the next tick. What waits at a tick goes into one backfill, whose
runs take a range of batches each.
"""

from functools import reduce
from operator import and_
from typing import Any, TypeAlias

import dagster as dg

from schemas.loader import Line

Condition: TypeAlias = dg.AutomationCondition[Any]

LEDGER_AT_LEAST = "*/10 * * * *"
"""How often ledger and table follow a stream of files that never pauses."""

RETRY = "7 * * * *"
"""When what failed is tried again: for outages that last longer than the retries of a run."""


def _named(label: str, trigger: Condition, *gates: Condition) -> Condition:
    """Remember a trigger until the asset is requested or updated; ask once the gates are open."""
    # Not `since_last_handled`, which takes everything for handled when it is evaluated for the first time.
    handled = dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
    conditions = (trigger.since(handled), ~dg.AutomationCondition.in_progress(), *gates)
    conjunction: Any = reduce(and_, conditions)
    named: Condition = conjunction.with_label(label)
    return named


def _deps_updated(ignored: tuple[dg.AssetKey, ...] = ()) -> Condition:
    # Not `any_deps_updated`: that fires for what is only requested, and then both share a run.
    updated = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
    return updated.ignore(dg.AssetSelection.assets(*ignored)).with_label("deps_updated")


def _known_before() -> Condition:
    # What came before the first evaluation has no event to follow.
    return (dg.AutomationCondition.initial_evaluation() & dg.AutomationCondition.missing()).with_label("known_before")


def _failed_and_due() -> Condition:
    due = dg.AutomationCondition.cron_tick_passed(RETRY)
    return (dg.AutomationCondition.execution_failed() & due).with_label("failed_and_due")


def new_batches(line: Line) -> Condition:
    """Ingest every batch whose file is new or was replaced; what stays without outcome is reported again."""
    raw_batches = dg.AssetKey([line, "raw_batches"])
    landed = dg.AutomationCondition.asset_matches(raw_batches, dg.AutomationCondition.newly_updated())
    return _named("new_batches", landed.with_label("file_landed") | _known_before())


def follows_batches() -> Condition:
    """Follow the batches in a pause, or at the latest after ten minutes, however steady their stream is."""
    pause = ~dg.AutomationCondition.any_deps_in_progress()
    overdue = dg.AutomationCondition.cron_tick_passed(LEDGER_AT_LEAST)
    anything = dg.AutomationCondition.any_deps_match(~dg.AutomationCondition.missing())
    return _named(
        "follows_batches",
        _deps_updated() | _known_before() | _failed_and_due(),
        (pause | overdue).with_label("pause_or_overdue"),
        anything.with_label("any_batch_ingested"),
    )


def follows_ledger() -> Condition:
    """Follow the ledger, in the same run."""
    ledger = dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated() | dg.AutomationCondition.will_be_requested()
    )
    return _named(
        "follows_ledger",
        ledger.with_label("ledger_updated") | _known_before() | _failed_and_due(),
        ~dg.AutomationCondition.any_deps_missing(),
    )


def new_records(champion: dg.AssetKey) -> Condition:
    """Score new and changed records; they wait for the first champion, and a later one scores what comes after it."""
    return _named(
        "new_records",
        _deps_updated((champion,)) | _known_before() | _failed_and_due(),
        ~dg.AutomationCondition.any_deps_missing(),
    )


def governed_retraining() -> Condition:
    """Never ask for one asset: the sensor `retrain` and the job `train` start the modelling line as a whole."""
    missing = dg.AutomationCondition.missing()
    return (missing & ~missing).with_label("governed_retraining")
