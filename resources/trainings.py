"""What one training is, and which values may go together.

A training is a run with modelling steps, and what re-executes that run: its id is that of the first run.
What its steps hand on is kept under ``runs/<training>/`` and belongs to it alone, whatever else runs.

How the values are stored is in `resources.io_managers`, and what they are in `wafer_assets.assets`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import dagster as dg

from resources.adapters.dagster import NOT_FINISHED_STATUSES, ROOT_RUN_ID_TAG, pools_of
from resources.s3 import S3Store
from wafer_assets.keys import name_of, training_folder

_POOL = "training"


def training_pool(line: str) -> str:
    """Return the pool of a line's modelling steps: one run at a time."""
    return name_of(line, _POOL)


class MixedTrainingsError(RuntimeError):
    """Values were to be used together that do not come from the same training, configuration and table."""

    code = "mixed_trainings"

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem} Start the job `train`, which makes all of them anew.")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a value of a modelling step comes from.

    Attributes
    ----------
    training
        The training that made it.
    config_hash
        Of the hyperparameters in effect; empty for the wafer table, which depends on none.
    table_hash
        Of the wafer table's content.
    """

    training: str
    config_hash: str
    table_hash: str

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Self | None:
        """Return what the metadata of an object say; None where they say nothing of it."""
        # Servers spell the names of headers as they like.
        said = {name.lower().replace("-", "_"): value for name, value in metadata.items()}
        return cls(**{name: said.get(name, "") for name in cls.__slots__}) if "training" in said else None

    def as_metadata(self) -> dict[str, str]:
        """Return it as metadata of an object: headers, of which some servers drop the empty and those with a _."""
        return {name.replace("_", "-"): value for name, value in asdict(self).items() if value}

    def as_tags(self) -> dict[str, str]:
        """Return it as tags of a version."""
        return asdict(self)


def training_id(run: dg.DagsterRun) -> str:
    """Return the id of the training that a run belongs to."""
    return run.root_run_id or run.run_id


def is_training(run: dg.DagsterRun) -> bool:
    """Return whether a run has a modelling step."""
    return any(pool.endswith(name_of("", _POOL)) for pool in pools_of(run))


def forget(instance: dg.DagsterInstance, s3: S3Store, run: dg.DagsterRun) -> None:
    """Delete what the steps of a training that succeeded handed on; its results stay readable as the latest.

    Where a re-execution of it is at work, that one needs it and deletes it in the end.
    """
    at_work = dg.RunsFilter(tags={ROOT_RUN_ID_TAG: training_id(run)}, statuses=NOT_FINISHED_STATUSES)
    if instance.get_runs_count(at_work):
        return
    for item in s3.list_objects(s3.lake, training_folder(training_id(run))):
        s3.delete(s3.lake, item.key)


def require_fit(
    name: str, found: Provenance, others: Mapping[str, Provenance], *, training: str, config_hash: str
) -> None:
    """Require that a value may be used by a step of a training beside what the step has read already.

    All that a step reads must come from one table. All but the table, which its hash describes in full, must have
    been made under the step's own hyperparameters, and by its own training or, of what that one has not made, by
    one other.

    Parameters
    ----------
    name, found
        The value.
    others
        What the step has read before, by name.
    training, config_hash
        Of the step; an empty hash where it depends on no hyperparameters.

    Raises
    ------
    MixedTrainingsError
        It may not; the error says what does not fit, and what to do.
    """
    if found.config_hash and config_hash and found.config_hash != config_hash:
        raise MixedTrainingsError(
            f"{name} was made by the training {found.training[:8]} under other hyperparameters "
            f"({found.config_hash[:8]}) than this run has ({config_hash[:8]})."
        )
    for other, known in others.items():
        if found.table_hash != known.table_hash:
            raise MixedTrainingsError(
                f"{name} and {other} do not fit: they come from different tables, "
                f"{found.table_hash[:8]} and {known.table_hash[:8]}."
            )
        if found.config_hash and known.config_hash and len({training, found.training, known.training}) > 2:
            raise MixedTrainingsError(
                f"{name} and {other} do not fit: they were made by different trainings, "
                f"{found.training[:8]} and {known.training[:8]}."
            )
