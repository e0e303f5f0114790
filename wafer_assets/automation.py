"""Named automation conditions: when an asset is brought up to date without anybody asking.

Files land at any time, so every condition remembers what it has not handled yet: an update during a missed tick,
a restart or a running backfill is taken up at the next tick. What waits at a tick goes into one backfill, whose
runs take a range of batches each.
"""

from functools import reduce
from operator import and_, or_
from typing import Any, TypeAlias

import dagster as dg

from schemas.lines import LineFeed
from wafer_assets.keys import feed_key

Condition: TypeAlias = dg.AutomationCondition[Any]

LEDGER_AT_LEAST = "*/10 * * * *"
"""How often ledger and table follow a stream of files that never pauses."""

RETRIES = ("7 * * * *", "7 */6 * * *", "7 0 * * *")
"""When what failed is tried again, for outages that last longer than the retries of a run: every hour up to the next
of the second times, at these up to the next of the third, and then at these until it succeeds."""


def _named(label: str, trigger: Condition, *gates: Condition) -> Condition:
    """Request what the trigger says once it is idle and the gates are open."""
    conjunction: Any = reduce(and_, (trigger, ~dg.AutomationCondition.in_progress(), *gates))
    named: Condition = conjunction.with_label(label)
    return named


def _remembered(*triggers: Condition) -> Condition:
    """Remember each trigger until the asset is requested.

    Not `since_last_handled`: a run that began before an update of what it reads and ends after it would count as
    having handled it. And one memory per trigger, because only then does Dagster compare times within a tick.
    """
    requested = dg.AutomationCondition.newly_requested()
    remembered: Condition = reduce(or_, (trigger.since(requested) for trigger in triggers))
    return remembered


def _deps_updated(ignored: tuple[dg.AssetKey, ...] = ()) -> Condition:
    # Not `any_deps_updated`: that fires for what is only requested, and then both share a run.
    updated = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
    return updated.ignore(dg.AssetSelection.assets(*ignored)).with_label("deps_updated")


def _known_before() -> Condition:
    # What came before the first evaluation has no event to follow.
    return (dg.AutomationCondition.initial_evaluation() & dg.AutomationCondition.missing()).with_label("known_before")


def _failed_and_due(ignored: tuple[dg.AssetKey, ...] = ()) -> Condition:
    """Try again what failed, with growing pauses that begin anew with every update of what it depends on."""
    ticks: list[Condition] = [dg.AutomationCondition.cron_tick_passed(times) for times in RETRIES]
    hourly, sometimes, daily = ticks
    updated = _deps_updated(ignored)
    young, recent = ~sometimes.since(updated), ~daily.since(updated)
    due = ((hourly & young) | (sometimes & recent) | daily).with_label("due")
    return (dg.AutomationCondition.execution_failed() & due).with_label("failed_and_due")


def new_batches(feed: LineFeed) -> Condition:
    """Ingest every batch whose file is new or was replaced; what stays without outcome is reported again."""
    raw_batches = feed_key(feed, "raw_batches")
    landed = dg.AutomationCondition.asset_matches(raw_batches, dg.AutomationCondition.newly_updated())
    return _named("new_batches", _remembered(landed.with_label("file_landed"), _known_before()))


def follows_batches(follower: dg.AssetKey | None = None) -> Condition:
    """Follow the batches in a pause, or at the latest after ten minutes, however steady their stream is.

    Parameters
    ----------
    follower
        An asset that is always requested together with this one, which therefore waits for it.
    """
    pause = ~dg.AutomationCondition.any_deps_in_progress()
    overdue = dg.AutomationCondition.cron_tick_passed(LEDGER_AT_LEAST)
    anything = dg.AutomationCondition.any_deps_match(~dg.AutomationCondition.missing())
    gates: list[Condition] = [
        (pause | overdue).with_label("pause_or_overdue"),
        anything.with_label("any_batch_ingested"),
    ]
    if follower:
        busy = dg.AutomationCondition.asset_matches(follower, dg.AutomationCondition.in_progress())
        gates.append((~busy).with_label("follower_idle"))
    return _named("follows_batches", _remembered(_deps_updated(), _known_before(), _failed_and_due()), *gates)


def follows_ledger() -> Condition:
    """Be requested with the ledger, in the same run; the ledger remembers what has not been followed yet."""
    requested = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested())
    return _named(
        "follows_ledger",
        requested.with_label("ledger_requested") | _remembered(_known_before(), _failed_and_due()),
        ~dg.AutomationCondition.any_deps_missing(),
    )


def new_records(champion: dg.AssetKey, refusals: dg.AssetKey) -> Condition:
    """Score new and changed records; they wait for the first champion, and a later one scores what comes after it.

    What the champion could not score is no failure that passes: it is for the next champion, or for its next records.

    Parameters
    ----------
    champion
        The asset with an event for every new champion.
    refusals
        An asset with an event for every batch, each time that the champion could not score it.
    """
    requested, scored = dg.AutomationCondition.newly_requested(), dg.AutomationCondition.newly_updated()
    refusal = dg.AutomationCondition.asset_matches(refusals, dg.AutomationCondition.newly_updated())
    # Two memories, for the same reason as there is one per trigger.
    refused = (refusal.since(requested) & refusal.since(scored)).with_label("refused")
    another = dg.AutomationCondition.asset_matches(champion, dg.AutomationCondition.newly_updated())
    return _named(
        "new_records",
        _remembered(_deps_updated((champion,)), _known_before(), ~refused & _failed_and_due((champion,)))
        | (another.since(requested) & refused).with_label("refused_by_another_champion"),
        ~dg.AutomationCondition.any_deps_missing(),
    )


def governed_retraining() -> Condition:
    """Never ask for one asset: the sensor `retrain` and the job `train` start all modelling steps together."""
    missing = dg.AutomationCondition.missing()
    return (missing & ~missing).with_label("governed_retraining")
