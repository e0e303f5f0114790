"""Lines as a whole: making one's folder, what a changed contract means for what is stored, and removing one.

What may stand in a line's folder is in `schemas.lines`, how it is guessed in `domain.inference`.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import dagster as dg

from resources.adapters.dagster import NOT_FINISHED_STATUSES
from resources.mlflow import CHAMPION, LineTracking
from resources.mongo import WaferStore
from resources.predictions import PredictionStore
from resources.promotions import PromotionLog
from resources.releases import ReleaseLog
from resources.s3 import S3Store
from schemas.lines import DECLARATION, FEEDS, Line, LineFeed, read_line
from wafer_assets.keys import name_of
from wafer_assets.partitions import partitions_name
from wafer_assets.settings import Settings


@dataclass(frozen=True, slots=True)
class NewLine:
    """What was inferred.

    Attributes
    ----------
    labelled
        Paths of the sample files that have labels.
    decisions
        What a person must decide.
    """

    labelled: tuple[str, ...]
    decisions: tuple[str, ...]


def new_line(folder: Path, name: str, files: Sequence[Path]) -> tuple[Line, NewLine]:
    """Make the folder of a line from sample files, whole or not at all.

    Parameters
    ----------
    folder
        Of lines; it is made where it is not there.
    name
        Of the line.
    files
        Samples of both feeds.

    Raises
    ------
    InferenceError
        Nothing can be inferred from them.
    LineError
        What was inferred does not hold together.
    FileExistsError
        The line is there.
    """
    from wafer_assets.domain.inference import decisions, infer_line, render_line_yaml, render_schema_json

    inferred = infer_line(name, {str(file): file.read_bytes() for file in files})
    folder.mkdir(parents=True, exist_ok=True)
    hidden = Path(mkdtemp(dir=folder, prefix="."))  # hidden folders are no lines
    made = hidden / name
    try:
        made.mkdir()
        (made / DECLARATION).write_text(render_line_yaml(inferred), encoding="utf-8")
        for feed in FEEDS:
            (made / f"schema_{feed}.json").write_text(render_schema_json(inferred, feed), encoding="utf-8")
        line = read_line(made)
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is there already.")
        made.rename(folder / name)
    finally:
        shutil.rmtree(hidden)
    return line, NewLine(tuple(inferred.labelled), tuple(decisions(inferred)))


def changed_contract(line: Line, wafers: WaferStore, tracking: LineTracking) -> list[str]:
    """Say what it means for what is stored that the line's contract has changed; nothing where it has not."""
    news, now = [], line.contract
    for kind in FEEDS:
        again = f"`wafer ingest --line {line.name} --feed {kind} --all` checks them by contract {now}"
        replay = f"`wafer quarantine replay --line {line.name} --feed {kind}` checks them by contract {now}"
        for status, remark in (("accepted", f"stay as they are; {again}"), ("quarantined", f"stay there; {replay}")):
            batches = wafers.batches(line.feed(kind), status)  # type: ignore[arg-type]
            counts = Counter(item.contract_version for item in batches if item.contract_version != now)
            news += [f"{count} {kind} batches {status} by contract {old} {remark}." for old, count in counts.items()]
    champion = tracking.version(CHAMPION)
    learned = champion.tags.get("contract_version", now) if champion else now
    if champion and learned.partition(".")[0] != now.partition(".")[0]:
        news.append(
            f"The champion, version {champion.version}, learned from contract {learned} and scores no batch of "
            f"contract {now}: these wait until a model is trained on such files and promoted."
        )
    elif champion and learned != now:
        news.append(
            f"The champion, version {champion.version}, learned from contract {learned} and goes on predicting: it "
            "knows no sensor that came since."
        )
    return news


def undeclared_lines(wafers: WaferStore, declared: Iterable[str]) -> list[str]:
    """Return the lines that there are batches of though they are not declared any more, by name."""
    return sorted(set(wafers.lines()) - set(declared))


class LineAtWorkError(RuntimeError):
    """A line was to be removed while a run is at work on it."""

    code = "line_at_work"


@dataclass(frozen=True, slots=True)
class StoredLine:
    """All that is stored of a line, whether it is declared or not.

    Attributes
    ----------
    landed, kept
        Keys of its files in the landing bucket, and of its objects in the lake.
    batches, wafers, scored
        How many there are in MongoDB.
    versions
        Of its model.
    runs
        Dagster's, by id.
    """

    name: str
    landed: tuple[str, ...]
    kept: tuple[str, ...]
    batches: int
    wafers: int
    scored: int
    versions: int
    runs: tuple[str, ...]

    def __bool__(self) -> bool:
        return any((self.landed, self.kept, self.batches, self.scored, self.versions, self.runs))


class LineStores:
    """The stores of one line, for what is done to all of them.

    Parameters
    ----------
    settings
        Where they are.
    instance
        Of Dagster.
    name
        Of the line.
    declared
        All lines that are, this one perhaps among them: what lands at the prefix of another one is that one's.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, name: str, declared: Iterable[Line]) -> None:
        self._name, self._instance = name, instance
        self._s3, self._wafers = S3Store(settings), WaferStore(settings)
        self._predictions, self._promotions = PredictionStore(settings), PromotionLog(settings)
        self._releases = ReleaseLog(settings)
        self._tracking = LineTracking(settings, name)
        self._declared = {line.name: line for line in declared}

    def look(self) -> StoredLine:
        """Return what is stored of the line."""
        manifests = [item for feed in self._feeds() for item in self._wafers.batches(feed)]
        return StoredLine(
            self._name,
            tuple(self._landed(item.key for item in manifests)),
            tuple(self._kept()),
            len(manifests),
            sum(item.wafers for item in manifests),
            len(self._predictions.scored(self._name)),
            len(self._tracking.versions()),
            tuple(self._runs()),
        )

    def remove(self, stored: StoredLine) -> None:
        """Remove all of it; where this is cut short, it is done again.

        Raises
        ------
        LineAtWorkError
            A run is at work on the line.
        """
        unfinished = self._instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
        at_work = sorted({run.run_id for run in unfinished}.intersection(stored.runs))
        if at_work:
            raise LineAtWorkError(f"The run {at_work[0]} is at work on {self._name}: let it end, or terminate it.")
        # What others follow from goes last: as long as there are batches, the line is known to be there.
        for key in stored.landed:
            self._s3.delete(self._s3.landing, key)
        for run in stored.runs:
            self._instance.delete_run(run)
        self._instance.wipe_assets([key for key in self._instance.all_asset_keys() if key.path[0] == self._name])
        for feed in self._feeds():
            for batch in self._instance.get_dynamic_partitions(partitions_name(feed)):
                self._instance.delete_dynamic_partition(partitions_name(feed), batch)
        self._tracking.remove_line()
        self._promotions.remove_line(self._tracking.settings.model_name)
        for key in stored.kept:
            self._s3.delete(self._s3.lake, key)
        self._predictions.remove_line(self._name)
        self._releases.remove_line(self._name)
        self._wafers.remove_line(self._name)

    def _feeds(self) -> list[LineFeed]:
        line = self._declared.get(self._name)
        return [LineFeed(self._name, kind, line.landing if line else self._name) for kind in FEEDS]

    def _landed(self, known: Iterable[str]) -> Iterator[str]:
        """Yield the keys of the line's files, those of a line that is not declared as its batches tell."""
        prefixes = {feed.landing for feed in self._feeds()} | {key.rsplit("/", 2)[0] for key in known}
        others = [f"{line.landing}/" for name, line in self._declared.items() if name != self._name]
        for prefix in sorted(prefixes):
            for item in self._s3.list_objects(self._s3.landing, f"{prefix}/"):
                if not item.key.startswith(tuple(others)):
                    yield item.key

    def _kept(self) -> Iterator[str]:
        experiment = self._tracking.experiment_id()
        prefixes = [f"{self._name}/", *([f"mlflow/{experiment}/"] if experiment else [])]
        for prefix in prefixes:
            yield from (item.key for item in self._s3.list_objects(self._s3.lake, prefix))
        for item in self._s3.list_objects(self._s3.lake, "runs/"):
            if item.key.split("/")[2:3] == [self._name]:
                yield item.key

    def _runs(self) -> Iterator[str]:
        jobs = name_of(self._name, "")
        for run in self._instance.get_runs():
            assets = {key.path[0] for key in run.asset_selection or ()}
            if run.job_name.startswith(jobs) or assets == {self._name}:
                yield run.run_id
