"""Scoring: what one bundle says of the wafers of a batch, stored with its evidence; no step here fits anything.

How a wafer is scored is in `wafer_assets.domain.scoring`, what Dagster is told in `wafer_assets.assets.predictions`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from resources.mlflow import BundleVersion
from resources.mongo import WaferStore
from resources.predictions import BatchReplacedError, PredictionStore, ScoredBatch
from resources.s3 import S3Store
from resources.store_errors import unless_replaced
from schemas.lines import LineFeed
from schemas.loader import BatchSchema
from wafer_assets.keys import prediction_key, report_key

if TYPE_CHECKING:
    from wafer_assets.domain.contract import Refused
    from wafer_assets.domain.scoring import Bundle, Scores


@dataclass(frozen=True, slots=True)
class BatchScores:
    """The scores of a batch, as they are stored.

    Attributes
    ----------
    batch
        What scored it, and where that is.
    rows
        A row per wafer: see `wafer_assets.domain.scoring.Scores`.
    ignored
        Sensors of the wafers that the bundle does not know, because the line's contract has grown since.
    """

    batch: ScoredBatch
    rows: pd.DataFrame
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileScores:
    """The scores of a file that is in no store.

    Attributes
    ----------
    rows
        A row per wafer: see `wafer_assets.domain.scoring.Scores`.
    report
        The page (HTML, UTF-8) that explains them.
    """

    rows: pd.DataFrame
    report: bytes


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores batches of a line with one and the same bundle.

    Attributes
    ----------
    feed
        The line's prediction feed.
    version, bundle
        The registered version, and what is loaded from it.
    run_id
        Id of the Dagster run that scores.
    against_rule
        Whether the version was promoted by hand although the promotion rule did not pass it.
    """

    feed: LineFeed
    version: BundleVersion
    bundle: "Bundle"
    run_id: str
    s3: S3Store
    wafers: WaferStore
    predictions: PredictionStore
    against_rule: bool = False

    def score(self, batch: str) -> BatchScores | None:
        """Score what a batch holds now; where it is replaced meanwhile, that is scored instead.

        Returns
        -------
        BatchScores or None
            None of a batch that is in quarantine now: what was predicted from an earlier version is gone.

        Raises
        ------
        ContractMismatch
            The bundle was trained under another contract.
        BatchReplacedError
            The batch was replaced each time it was scored.
        """
        return unless_replaced(lambda: self._score_content(batch), BatchReplacedError)

    def _score_content(self, batch: str) -> BatchScores | None:
        from wafer_assets.domain.report import batch_report
        from wafer_assets.domain.scoring import score

        # Read at once: what is recorded of the wafers must be true of these very wafers.
        stored, line = self.wafers.read(self.feed, batch), self.feed.line
        frame = stored.frame
        if frame is None:
            withdraw(self.feed, batch, self.s3, self.predictions)
            return None
        version = self.version
        self.bundle.check_contract(stored.manifest.contract_version, f"Batch {batch}")
        frame, ignored = _known_to(self.bundle, frame)
        scores = score(self.bundle, frame, version.version)
        csv = scores.rows.to_csv(index=False).encode()
        page = batch_report(
            self.bundle,
            scores,
            batch,
            frame,
            version.version,
            version.name,
            against_rule=self.against_rule,
            context=stored.context,
        )
        scored = ScoredBatch(
            line=line,
            batch=batch,
            sha256=str(stored.manifest.sha256),
            wafers=len(frame),
            alarms=int(scores.rows["faulty"].sum()),
            model=version.name,
            bundle_version=version.version,
            csv=prediction_key(line, batch),
            report=report_key(line, batch),
            dagster_run_id=self.run_id,
            scored_at=datetime.now(UTC),
        )

        def publish() -> None:
            self.s3.put(self.s3.lake, scored.csv, csv)
            self.s3.put(self.s3.lake, scored.report, page)

        self.predictions.replace(scored, _documents(scores), publish)
        return BatchScores(scored, scores.rows, ignored)


def withdraw(feed: LineFeed, batch: str, s3: S3Store, predictions: PredictionStore) -> None:
    """Remove what was predicted from an earlier version of a batch that is in quarantine now.

    Raises
    ------
    BatchReplacedError
        The batch is not in quarantine any more.
    """
    predictions.withdraw(feed.line, batch)
    for stale in (prediction_key(feed.line, batch), report_key(feed.line, batch)):
        s3.delete(s3.lake, stale)


def score_file(
    bundle: "Bundle",
    version: BundleVersion,
    schema: BatchSchema,
    name: str,
    content: bytes,
    *,
    against_rule: bool = False,
) -> "FileScores | Refused":
    """Score a file as if it had landed, and store nothing.

    Returns
    -------
    FileScores or Refused
        The scores, or every reason why the file would be refused.
    """
    from wafer_assets.domain.contract import Accepted, validate
    from wafer_assets.domain.report import batch_report
    from wafer_assets.domain.scoring import score

    verdict = validate(name, content, schema)
    if not isinstance(verdict, Accepted):
        return verdict
    frame, _ = _known_to(bundle, verdict.frame)
    scores = score(bundle, frame, version.version)
    page = batch_report(
        bundle,
        scores,
        name,
        frame,
        version.version,
        version.name,
        against_rule=against_rule,
        context=verdict.context,
    )
    return FileScores(scores.rows, page)


def _known_to(bundle: "Bundle", frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Leave out the sensors that a contract of the same major version has got since the bundle was trained."""
    from wafer_assets.domain.table import sensor_names

    known = set(bundle.model.feature_names_in_)
    unknown = tuple(name for name in sensor_names(frame) if name not in known)
    return frame.drop(columns=[*unknown]), unknown


def _documents(scores: "Scores") -> list[dict[str, Any]]:
    """Return a document per wafer: its row, and its evidence in full."""
    evidence = scores.evidence
    assert evidence is not None
    return [
        {
            **{str(name): value for name, value in row.items()},
            "margin": float(scores.margin[place]),
            "base": float(evidence.base[place]),
            "others": float(evidence.others[place]),
            "evidence": evidence.of(place),
        }
        for place, row in enumerate(scores.rows.drop(columns="drivers").to_dict("records"))
    ]
