"""Who predicts: the one place that changes the champion, by rule or by hand.

Prediction asks MLflow once for the version behind the alias `champion`, and reads that version alone. Versions
never change, and an alias changes in one request. So prediction works with the old bundle or with the new one,
and a rollback brings back the very bytes that predicted before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources.champion import load_bundle
from resources.mlflow import CHAMPION, BundleUnusableError, BundleVersion, LineTracking, OutOfFoldMissingError
from resources.promotions import Promotion, PromotionAction, PromotionLog
from resources.trainings import MixedTrainingsError, Provenance

if TYPE_CHECKING:
    from wafer_assets.domain.promotion import Decision


class PromotionRefusedError(ValueError):
    """A change of champion that makes no sense, or that nobody explained."""

    code = "promotion_refused"


class ChampionChangedError(RuntimeError):
    """The champion was replaced while a version was compared with it."""

    code = "champion_changed"

    def __init__(self, version: BundleVersion, then: BundleVersion | None, now: BundleVersion | None) -> None:
        before, after = (f"version {each.version}" if each else "none" for each in (then, now))
        super().__init__(
            f"nothing was decided on version {version.version} of {version.name}: it was compared with the champion, "
            f"{before}, which now is {after}. Re-execute the run from its failure to compare it with that one."
        )


def compare(
    tracking: LineTracking,
    challenger: BundleVersion,
    champion: BundleVersion | None,
    *,
    seed: int,
    clearly_better: bool = False,
) -> "Decision":
    """Decide between two versions by the out-of-fold results stored with them; changes nothing.

    Raises
    ------
    OutOfFoldMissingError
        The challenger has none. A champion without leaves the two not comparable.

    Notes
    -----
    A champion whose file cannot be read predicts nothing, and defends nothing: the challenger is judged as the first.
    """
    from wafer_assets.domain.promotion import decide

    rows = tracking.out_of_fold(challenger)
    if champion is None:
        return decide(rows, None, seed=seed)
    try:
        load_bundle(tracking, champion)
    except BundleUnusableError:
        alone = decide(rows, None, seed=seed)
        lost = f"The file of the champion, version {champion.version}, cannot be read: a model is judged as the first."
        return replace(alone, reasons=(lost, *alone.reasons))
    try:
        reference = tracking.out_of_fold(champion)
    except OutOfFoldMissingError as error:
        unknown = decide(rows, rows.iloc[:0], seed=seed)
        return replace(unknown, reasons=(str(error), *unknown.reasons))
    return decide(rows, reference, seed=seed, clearly_better=clearly_better)


def judge(
    tracking: LineTracking,
    log: PromotionLog,
    challenger: BundleVersion,
    champion: BundleVersion | None,
    *,
    seed: int,
    clearly_better: bool = False,
) -> "Decision":
    """Decide by rule whether `challenger` takes the place of the champion; changes nothing.

    As `compare`, but what a person took away no rule gives back: a version that was rolled back is not promoted.

    Raises
    ------
    OutOfFoldMissingError
        The challenger has no out-of-fold results.
    """
    decision = compare(tracking, challenger, champion, seed=seed, clearly_better=clearly_better)
    if back := rolled_back(log.history(challenger.name), challenger.version):
        reason = (
            f"Version {challenger.version} was rolled back by {back.by}: {back.reason} "
            "Make it champion again with `wafer models promote`, or train a new one."
        )
        return replace(decision, promote=False, reasons=(reason, *decision.reasons))
    return decision


def registered_version(tracking: LineTracking, registered: Mapping[str, Any]) -> BundleVersion:
    """Return the version that a training registered.

    Parameters
    ----------
    tracking
        Where it was registered.
    registered
        What the training said of it: `version`, and the fields of its provenance.

    Raises
    ------
    MixedTrainingsError
        The version of that number is another one.
    """
    version = tracking.get_version(registered["version"])
    for field in fields(Provenance):
        expected, actual = registered[field.name], version.tags.get(field.name)
        if expected != actual:
            raise MixedTrainingsError(
                f"version {version.version} of {version.name} is not the one that its training registered: "
                f"its {field.name} is {actual}, not {expected}."
            )
    return version


def require_champion(tracking: LineTracking, judged: BundleVersion, against: BundleVersion | None) -> None:
    """Require that the champion is still the one that a version was compared with; None is that there was none.

    Raises
    ------
    ChampionChangedError
        It is another one, or there is none any more.
    """
    now = tracking.version(CHAMPION)
    if (now.version if now else None) != (against.version if against else None):
        raise ChampionChangedError(judged, against, now)


def promote(
    tracking: LineTracking,
    log: PromotionLog,
    version: BundleVersion,
    *,
    by: str,
    reason: str,
    figures: Mapping[str, Any],
    dagster_run_id: str | None = None,
) -> Promotion:
    """Make `version` the champion.

    Parameters
    ----------
    tracking, log
        Where the champion is named, and where its changes are written down.
    version
        Of the registered model.
    by
        Who decides: a Dagster run or a person.
    reason
        Why, in words.
    figures
        What the decision rests on, as plain JSON values.
    dagster_run_id
        The run that decides; None where a person does.

    Returns
    -------
    Promotion
        The record of the change.

    Raises
    ------
    PromotionRefusedError
        The reason is empty, or `version` is the champion already.
    BundleUnusableError
        The version's file cannot be used; nothing has changed then.
    """
    champion = tracking.version(CHAMPION)
    if champion is not None and champion.version == version.version:
        raise PromotionRefusedError(f"Version {version.version} of {version.name} is the champion already.")
    record = _record("promote", version, champion, by, reason, figures, dagster_run_id)
    _switch(tracking, log, version, record)
    return record


def keep(
    tracking: LineTracking,
    log: PromotionLog,
    version: BundleVersion,
    *,
    by: str,
    reason: str,
    figures: Mapping[str, Any],
    dagster_run_id: str | None = None,
) -> Promotion:
    """Note that `version` was judged and does not become champion; the parameters are those of `promote`.

    Judging again with the same outcome, as a repeated run does, adds nothing: the first record is returned.
    """
    record = _record("keep", version, tracking.version(CHAMPION), by, reason, figures, dagster_run_id)
    for latest in log.history(version.name)[-1:]:
        if _said(latest) == _said(record):
            return latest
    log.append(record)
    _tag(tracking, version, record)
    return record


def rollback(tracking: LineTracking, log: PromotionLog, *, by: str, reason: str, to: int | None = None) -> Promotion:
    """Make an earlier champion the champion again.

    Parameters
    ----------
    tracking, log
        Where the champion is named, and where its changes are written down.
    by, reason
        Who decides, and why.
    to
        The earlier champion to go back to; by default the one that the current champion replaced. Rolling back
        again goes further back.

    Returns
    -------
    Promotion
        The record of the change.

    Raises
    ------
    PromotionRefusedError
        The reason is empty, there is no champion, or nothing, or not `to`, came before it.
    BundleUnusableError
        The earlier champion's file cannot be used any more; nothing has changed then.
    """
    champion = tracking.version(CHAMPION)
    if champion is None:
        raise PromotionRefusedError("There is no champion to roll back. `wafer models list` shows all versions.")
    earlier = earlier_champions(log.history(champion.name), champion.version)
    if not earlier:
        raise PromotionRefusedError(
            f"Version {champion.version} is the first champion: there is nothing to go back to. "
            "Name a version with `wafer models promote`."
        )
    if to is not None and to not in earlier:
        raise PromotionRefusedError(
            f"Version {to} was not champion before version {champion.version}; "
            f"{', '.join(map(str, earlier))} was. Make it champion with `wafer models promote`."
        )
    target = tracking.get_version(earlier[-1] if to is None else to)
    record = _record("rollback", target, champion, by, reason, {}, None)
    _switch(tracking, log, target, record)
    return record


def against_rule(history: Sequence[Promotion], version: int) -> bool:
    """Return whether a person made `version` champion although the rule, when it judged it, did not.

    Parameters
    ----------
    history
        All decisions on the model, oldest first.
    version
        That predicts.
    """
    decisions = [record for record in history if record.version == version]
    made = [record for record in decisions if record.action != "keep"]
    refused = any(record.action == "keep" for record in decisions)
    return refused and bool(made) and made[-1].dagster_run_id is None


def earlier_champions(history: Sequence[Promotion], champion: int) -> list[int]:
    """Return the champions that a rollback from `champion` can go back to, oldest first.

    A promotion puts a version on top of the champion it replaces, a rollback takes versions off again. A
    record whose switch never came about is undone by the next one, which names the champion it really found.
    """
    champions: list[int] = []
    for record in history:
        if record.action == "keep":
            continue
        champions = _down_to(champions, record.previous)
        if record.action == "promote":
            champions = [*champions, record.version]
        else:
            champions = _down_to(champions[:-1], record.version)
    return _down_to(champions, champion)[:-1]


def rolled_back(history: Sequence[Promotion], version: int) -> Promotion | None:
    """Return the rollback that took the alias from `version`; None where none did, or it was promoted since."""
    for record in reversed(history):
        if record.action == "promote" and record.version == version:
            return None
        if record.action == "rollback" and record.previous == version:
            return record
    return None


def _down_to(champions: list[int], version: int | None) -> list[int]:
    """Take versions off until `version` is on top; one that is not there was made champion by other means."""
    if version is None:
        return []
    if version not in champions:
        return [version]
    return champions[: len(champions) - champions[::-1].index(version)]


def _record(
    action: PromotionAction,
    version: BundleVersion,
    champion: BundleVersion | None,
    by: str,
    reason: str,
    figures: Mapping[str, Any],
    dagster_run_id: str | None,
) -> Promotion:
    if not reason.strip():
        raise PromotionRefusedError(f"A {action} of version {version.version} needs a reason, for those who ask later.")
    now = datetime.now(UTC)
    return Promotion(
        at=now.replace(microsecond=now.microsecond // 1000 * 1000),  # MongoDB keeps milliseconds
        action=action,
        model=version.name,
        version=version.version,
        previous=champion.version if champion else None,
        by=by,
        reason=reason.strip(),
        figures=dict(figures),
        dagster_run_id=dagster_run_id,
    )


def _said(record: Promotion) -> dict[str, Any]:
    return record.model_dump(exclude={"at", "by", "dagster_run_id"})


def _switch(tracking: LineTracking, log: PromotionLog, version: BundleVersion, record: Promotion) -> None:
    # A champion that cannot be used would stop prediction.
    load_bundle(tracking, version)
    # The record first: without effect it is repeated by the next try, but no record could explain a bare alias.
    log.append(record)
    # The atomic step: whoever asks for the champion gets the old version before this request and the new one after.
    tracking.set_alias(CHAMPION, version)
    _tag(tracking, version, record)


def _tag(tracking: LineTracking, version: BundleVersion, record: Promotion) -> None:
    tracking.tag_version(
        version,
        {
            "decision": record.action,
            "decision_at": record.at.isoformat(),
            "decision_by": record.by,
            "decision_reason": record.reason,
        },
    )
