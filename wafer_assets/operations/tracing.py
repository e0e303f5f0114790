"""Where a prediction comes from, and what a training batch went into."""

from dataclasses import dataclass

from resources.mlflow import BundleNotFoundError, BundleVersion, LineTracking
from resources.mongo import BatchManifest, WaferStore
from resources.predictions import PredictionStore, ScoredBatch
from resources.promotions import Promotion, PromotionLog
from schemas.lines import Line
from wafer_assets.settings import Settings


class NothingToTraceError(LookupError):
    """Neither a batch nor a wafer has that name."""

    code = "nothing_to_trace"


@dataclass(frozen=True, slots=True)
class BundleOrigin:
    """What a bundle was made of, and what made it champion.

    Attributes
    ----------
    version : BundleVersion
    batches : training batches that its table was made of, those that are still in the store
    promotion : what made it champion most recently; None if it never was
    """

    version: BundleVersion
    batches: tuple[BatchManifest, ...]
    promotion: Promotion | None

    @property
    def table_hash(self) -> str:
        """Content hash of the training table."""
        return self.version.tags.get("table_hash", "unknown")


@dataclass(frozen=True, slots=True)
class PredictionOrigin:
    """Where the predictions of a batch come from.

    Attributes
    ----------
    source : the file that was scored; None if the batch left the store or holds other wafers now
    """

    scored: ScoredBatch
    source: BatchManifest | None
    bundle: BundleOrigin


@dataclass(frozen=True, slots=True)
class Influence:
    """What a training batch went into.

    Attributes
    ----------
    versions : bundles trained on it
    scored : batches that these bundles scored
    """

    batch: BatchManifest
    versions: tuple[BundleVersion, ...]
    scored: tuple[ScoredBatch, ...]


def trace(settings: Settings, line: Line, name: str) -> tuple[list[PredictionOrigin], list[Influence]]:
    """Follow a batch or a wafer of a line: back from its predictions, and on from its training batch.

    Returns
    -------
    list of PredictionOrigin
        Where the predictions come from; one for each scored batch of that name or with that wafer.
    list of Influence
        What went on from it; one for each accepted training batch of that name or with that wafer.

    Raises
    ------
    NothingToTraceError
        Both would be empty.
    BundleNotFoundError
        The registry has lost a version that scored.
    """
    wafers, predictions = WaferStore(settings), PredictionStore(settings)
    tracking, log = LineTracking(settings, line.name), PromotionLog(settings)
    scored = predictions.scored(line.name)
    training = {item.batch: item for item in wafers.batches(line.feed("training"), "accepted")}
    to_score = {item.batch: item for item in wafers.batches(line.feed("prediction"), "accepted")}

    predicted = (
        [name] if name in scored else [str(prediction["batch"]) for prediction in predictions.of_wafer(line.name, name)]
    )
    learned = [name] if name in training else wafers.batches_of(line.feed("training"), name)
    if not predicted and not learned:
        hint = " It waits to be scored." if name in to_score else ""
        raise NothingToTraceError(
            f"{name!r} is neither a scored nor an accepted training batch, nor a wafer of one.{hint} "
            f"`wafer quarantine list --line {line.name}` shows refused batches."
        )

    versions = {version.version: version for version in tracking.versions()}
    made_of = {number: tracking.training_batches(version) for number, version in versions.items()}

    def origin(number: int) -> BundleOrigin:
        version = versions.get(number)
        if version is None:
            raise BundleNotFoundError(
                f"The registry has no version {number} any more, which scored what was asked for. `wafer score --line "
                f"{line.name} --all` scores anew with the champion."
            )
        changes = [item for item in log.history(version.name) if item.version == number and item.action != "keep"]
        batches = tuple(training[batch] for batch in made_of[number] if batch in training)
        return BundleOrigin(version, batches, changes[-1] if changes else None)

    def source(item: ScoredBatch) -> BatchManifest | None:
        manifest = to_score.get(item.batch)
        return manifest if manifest and manifest.sha256 == item.sha256 else None

    origins = [
        PredictionOrigin(scored[batch], source(scored[batch]), origin(scored[batch].bundle_version))
        for batch in predicted
    ]
    influences = []
    for batch in learned:
        trained = tuple(versions[number] for number in sorted(versions) if batch in made_of[number])
        numbers = {version.version for version in trained}
        followed = tuple(item for item in scored.values() if item.bundle_version in numbers)
        influences.append(Influence(training[batch], trained, followed))
    return origins, influences
