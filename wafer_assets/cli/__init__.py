"""The `wafer` command: thin over the library, so that whatever it does can be done in the UI too."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from schemas.loader import Line
from wafer_assets.cli.console import console, output
from wafer_assets.cli.help import Group
from wafer_assets.cli.models import models
from wafer_assets.cli.predictions import predict, report, trace
from wafer_assets.cli.serve import serve
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg


_line_option = click.option(
    "--line",
    type=click.Choice(["training", "prediction"]),
    default="training",
    show_default=True,
    help="Files to learn from (labelled) or files to score (unlabelled).",
)


class _Commands(Group):
    """Shows the platform's own errors as messages: they say what to do, so a traceback would only hide it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if not hasattr(error, "code"):
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Find faulty wafers: learn from files whose outcome is known, score new files, and see why.

    A batch is one CSV file of wafers; its name is the file's. Two lines of files are kept apart: those of the line
    `training` say which wafers were faulty, those of the line `prediction` are to be scored.

    A first session on a laptop:
      wafer services up               start S3, MongoDB and MLflow
      wafer simulate --out batches    make labelled files to play with
      wafer upload batches            drop them into the landing bucket
      wafer ingest                    check and store what landed
      wafer quarantine list           see what was refused
      wafer train                     train, evaluate, maybe promote a model
      wafer models list               see which model predicts, and why

    Then, with files to score:
      wafer simulate --line prediction --out to-score
      wafer upload --line prediction to-score
      wafer ingest --line prediction
      wafer score                     score all accepted batches that wait
      wafer report BATCH              which wafers, why, how sure
      wafer trace WAFER               where a prediction comes from

    And beside it:
      wafer predict FILE              score a file, store nothing
      wafer serve                     answer scoring requests over HTTP
      wafer dev                       look at everything in the Dagster UI
      wafer services down             stop the services

    `wafer demo` does all of it at once. Settings come from the environment (WAFER_S3__ENDPOINT_URL and
    so on) or, on a laptop, from the running services.
    """
    # Being asked to end by a process manager is no different from Ctrl-C, which a shell's background jobs ignore.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Nor is the end of its terminal, unless `nohup` asks to outlive that. Dagster defers the signal it knows.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGINT))
    # Third parties' remarks would come between the lines of progress.
    logging.getLogger().setLevel(logging.ERROR)


for command in (models, predict, report, trace, serve):
    main.add_command(command)


@main.group()
def services() -> None:
    """Run S3, MongoDB and MLflow on this machine.

    They listen on loopback only and keep what they store in `.wafer`, or in the folder that WAFER_STATE_DIR names.
    """


@services.command()
def up() -> None:
    """Start the services in the background.

    They stay until `wafer services down`, and every other command finds them.
    """
    from resources.local_services import LocalServices

    local = LocalServices(load_settings())
    with console.status("starting S3, MongoDB and MLflow"):
        local.up(background=True)
    if not local.started:
        console.print("The services were running already.")
    _print_services(local.status())


@services.command()
def down() -> None:
    """Stop the services; what they stored stays."""
    from resources.local_services import LocalServices

    stopped = LocalServices(load_settings()).down()
    console.print("Stopped." if stopped else "Nothing was running.")


@services.command()
def status() -> None:
    """Show what runs where; exit with 1 unless all run and answer."""
    from resources.local_services import LocalServices

    local = LocalServices(load_settings())
    found = local.status()
    silent = [service.name for service in found if service.running and not local.answers(service.name)]
    _print_services(found, silent)
    if silent:
        console.print(
            f"{', '.join(silent)}: no answer. `wafer services down` and `up` start all again; nothing is lost."
        )
    if silent or not all(service.running for service in found):
        sys.exit(1)


def _print_services(found: Iterable[Any], silent: Container[str] = ()) -> None:
    table = Table("service", "state", "address", "memory", "processes")
    for service in found:
        state = "running" if service.running else "stopped"
        table.add_row(
            service.name,
            "not answering" if service.name in silent else state,
            service.url if service.running else "",
            f"{service.memory_mb:.0f} MB" if service.running else "",
            ", ".join(map(str, service.pids)),
        )
    output.print(table)


@main.command()
@_line_option
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write the files to."
)
@click.option("--batches", default=14, show_default=True, help="Number of good files to make.")
@click.option("--wafers", default=100, show_default=True, help="Number of wafers in each of them.")
@click.option("--bad/--no-bad", default=True, show_default=True, help="Add one bad file of every kind, or none.")
@click.option(
    "--seed", default=0, show_default=True, help="Number that all chance follows from: same seed, same files."
)
def simulate(line: Line, out: Path, batches: int, wafers: int, bad: bool, seed: int) -> None:
    """Make batch files like a partner's, to play with.

    Their readings drift and have gaps, and their faults have causes that are known. Files of the line `training` say
    which wafers were faulty, files of the line `prediction` do not.

      wafer simulate --out batches
      wafer simulate --line prediction --out to-score
    """
    _simulate(line, out, batches, wafers, bad, seed)


def _simulate(line: Line, out: Path, batches: int, wafers: int, bad: bool, seed: int, first_wafer: int = 1) -> None:
    from schemas.loader import load_schema
    from wafer_assets.domain.simulation import broken_batches, simulate_batches

    schema = load_schema(line)
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    with _progress() as progress:
        good = simulate_batches(batches, wafers, line=line, schema=schema, seed=seed, first_wafer=first_wafer)
        for batch in progress.track(good, total=batches, description="simulating"):
            (out / batch.name).write_bytes(batch.content)
            count += 1
    if bad:
        for broken in broken_batches(schema, seed):
            (out / broken.name).write_bytes(broken.content)
            count += 1
    console.print(f"{count} files in {out}")


@main.command()
@_line_option
@click.argument("paths", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True)
def upload(line: Line, paths: tuple[Path, ...]) -> None:
    """Drop files into the landing bucket.

    PATHS are files, or folders whose files are meant. A file that is there already with the same content is left
    alone; one whose content differs replaces it. `wafer ingest` then takes them up.

      wafer upload batches
      wafer upload --line prediction to-score/*.csv
    """
    _upload(load_settings(), line, paths)


def _upload(settings: Settings, line: Line, paths: Sequence[Path]) -> None:
    from resources.s3 import S3Store
    from wafer_assets.operations.landing import files_of
    from wafer_assets.operations.landing import upload as send

    files = files_of(paths)
    if not files:
        raise click.ClickException(f"There is no file in {', '.join(map(str, paths))}.")
    with _progress() as progress:
        uploads = send(S3Store(settings), line, files)
        sent = sum(progress.track(uploads, total=len(files), description="uploading"))
    console.print(f"{sent} files uploaded, {len(files) - sent} were there already.")


_from_option = click.option(
    "--from",
    "first",
    metavar="BATCH",
    help="First batch of a range, in the order of arrival; without it, from the very first.",
)
_to_option = click.option(
    "--to", "last", metavar="BATCH", help="Last batch of the range; without it, up to the latest."
)


@main.command()
@_line_option
@click.option("--all", "everything", is_flag=True, help="Ingest every file again, not only new and changed ones.")
@_from_option
@_to_option
def ingest(line: Line, everything: bool, first: str | None, last: str | None) -> None:
    """Check and store what has landed; quarantine what breaks the contract.

    Only files that are new or changed are ingested, and those of which the stores have lost something. With --from or
    --to, all batches of that range are ingested again, in one run.

      wafer ingest
      wafer ingest --line prediction
      wafer ingest --from wafer_07012020_041011.csv
    """
    settings = load_settings()
    with _instance(settings) as instance:
        if first or last:
            _run_range(settings, instance, line, f"ingest_{line}", first, last)
        else:
            _ingest(settings, instance, line, everything)
        _print_summary(settings, instance)


def _ingest(settings: Settings, instance: "dg.DagsterInstance", line: Line, everything: bool = False) -> None:
    from resources.mongo import WaferStore
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import run_job
    from wafer_assets.keys import line_key
    from wafer_assets.operations.backlog import ledger_is_behind
    from wafer_assets.operations.landing import take_up

    ranges = take_up(instance, line, S3Store(settings), WaferStore(settings), everything=everything)
    for part in ranges:
        _require_success(run_job(settings, instance, f"ingest_{line}", tags=part.tags))
    if not ranges:
        console.print("No file is new or changed.")
        if ledger_is_behind(instance, line):
            _require_success(run_job(settings, instance, f"ingest_{line}", assets=[line_key(line, "batch_ledger")]))


def _run_batches(
    settings: Settings,
    instance: "dg.DagsterInstance",
    line: Line,
    job: str,
    batches: Iterable[str],
    between: Container[str] = (),
) -> None:
    """Run a job over batches, in as many runs as they have gaps; batches that may come `between` make none."""
    from wafer_assets.cli.instance import run_job
    from wafer_assets.operations.ranges import batch_ranges

    for part in batch_ranges(instance, line, batches, between):
        _require_success(run_job(settings, instance, job, tags=part.tags))


def _run_range(
    settings: Settings, instance: "dg.DagsterInstance", line: Line, job: str, first: str | None, last: str | None
) -> None:
    """Run a job over all known batches from the first to the last one, in one run."""
    from wafer_assets.cli.instance import run_job
    from wafer_assets.operations.ranges import EmptyRangeError, UnknownBatchError, range_between

    try:
        part = range_between(instance, line, first, last)
    except UnknownBatchError as error:
        raise click.BadParameter(str(error), param_hint="--from" if error.batch == first else "--to") from error
    except EmptyRangeError as error:
        raise click.BadParameter(str(error), param_hint="--from") from error
    _require_success(run_job(settings, instance, job, tags=part.tags))


@main.command()
@click.option("--all", "everything", is_flag=True, help="Score every batch again, not only those that wait.")
@_from_option
@_to_option
def score(everything: bool, first: str | None, last: str | None) -> None:
    """Score all accepted batches that wait, with the champion.

    The champion is the model that predicts: `wafer models list` shows it. A batch waits until the predictions of its
    present content are stored. With --all, --from or --to, batches are scored again, in one run.

    The command exits with 1 if a batch is left unscored, and says why.
    """
    settings = load_settings()
    with _instance(settings) as instance:
        if everything or first or last:
            _run_range(settings, instance, "prediction", "predict", first, last)
        else:
            with _summarised(settings, instance):
                _score(settings, instance)
            return
        _print_summary(settings, instance)


def _score(settings: Settings, instance: "dg.DagsterInstance") -> None:
    from resources.mlflow import CHAMPION, Tracking
    from resources.mongo import WaferStore
    from resources.predictions import PredictionStore
    from resources.s3 import S3Store
    from wafer_assets.operations.backlog import unscored_batches

    wafers = WaferStore(settings)
    waiting = unscored_batches(instance, wafers, PredictionStore(settings), S3Store(settings))
    if not waiting:
        console.print("No batch waits to be scored.")
        return
    accepted = [item.batch for item in waiting if item.sha256]
    if accepted and Tracking(settings).version(CHAMPION) is None:
        raise click.ClickException(_left_unscored(settings, accepted))
    # Refused batches have nothing to score, and every one would split the run.
    refused = {item.batch for item in wafers.batches("prediction", "quarantined")}
    _run_batches(settings, instance, "prediction", "predict", [item.batch for item in waiting], refused)


def _left_unscored(settings: Settings, batches: Sequence[str]) -> str:
    """Say which batches nobody can score yet, why there is no champion, and what to do."""
    from resources.champion import NoChampionError
    from resources.promotions import PromotionLog

    names = ", ".join(batches[:5]) + (f" and {len(batches) - 5} more" if len(batches) > 5 else "")
    lines = [f"Accepted but not scored: {names}. {NoChampionError()}"]
    for latest in PromotionLog(settings).history(settings.mlflow.model_name)[-1:]:
        lines += [
            f"Version {latest.version} was not promoted: {latest.reason}",
            "`wafer models promote` lets it predict all the same; then `wafer score` scores what waits.",
        ]
    return "\n".join(lines)


@main.command()
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    help="A hyperparameter in place of its measured default, as a number or null; may be repeated.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    help="Repeats of the 10-fold evaluation; 3 by default.",
)
def train(overrides: tuple[str, ...], repeats: int | None) -> None:
    """Train, evaluate and register a model on all accepted wafers.

    It becomes the champion if it is better than the one before, or, as the first, better than knowing the share of
    faults alone; `wafer models list` says what was decided. A wrong NAME is answered with all that there are; the
    launchpad of the job `train` in the UI describes each. One training at a time: where another one is at work, this
    one says so and waits.

      wafer train
      wafer train --set capacity=0.2 --set k=3 --repeats 5
    """
    settings = load_settings()
    with _instance(settings) as instance:
        _train(settings, instance, _parsed(overrides), repeats)
        _print_summary(settings, instance)


def _parsed(overrides: Iterable[str]) -> dict[str, Any]:
    from wafer_assets.domain.config import ModelConfig

    values: dict[str, Any] = {}
    for override in overrides:
        name, separator, value = override.partition("=")
        if not separator or name not in ModelConfig.model_fields:
            raise click.BadParameter(
                f"{override!r}: give NAME=VALUE with one of {', '.join(ModelConfig.model_fields)}.",
                param_hint="--set",
            )
        try:
            values[name] = json.loads(value)
        except ValueError as error:
            raise click.BadParameter(f"{override!r}: {value!r} is not a number or null.", param_hint="--set") from error
    return values


def _train(
    settings: Settings, instance: "dg.DagsterInstance", model: Mapping[str, Any], repeats: int | None = None
) -> None:
    from wafer_assets.cli.instance import run_job

    resources = {"model": {"config": dict(model)}, "evaluation": {"config": {"repeats": repeats} if repeats else {}}}
    _require_success(run_job(settings, instance, "train", resources=resources))


def _require_success(result: "dg.JobExecutionResult") -> None:
    if result.success:
        return
    from sensors.notifications import step_error

    lines = [step_error(event) for event in result.all_events if event.is_step_failure]
    raise click.ClickException(
        f"Run {result.run_id} failed.\n" + "\n".join(lines) + "\n`wafer dev` shows the run with all its logs."
    )


@main.group()
def quarantine() -> None:
    """Look at the files that broke the contract."""


@quarantine.command("list")
@_line_option
def quarantine_list(line: Line) -> None:
    """List the quarantined batches with their reasons."""
    from resources.mongo import WaferStore

    table = Table("batch", "size", "reasons")
    found = WaferStore(load_settings()).batches(line, "quarantined")
    for item in found:
        codes = sorted({str(reason["code"]) for reason in item.reasons})
        table.add_row(item.batch, f"{item.size:,} B", "\n".join(codes))
    output.print(table if found else "The quarantine is empty.")


@quarantine.command("show")
@_line_option
@click.argument("batch")
def quarantine_show(line: Line, batch: str) -> None:
    """Show every reason why BATCH was refused.

    A reason names line, column, what was found and what to do. The page also says where the refused file is kept.
    """
    from resources.mongo import WaferStore
    from resources.s3 import S3Store
    from wafer_assets.keys import quarantine_folder

    settings = load_settings()
    found = {item.batch: item for item in WaferStore(settings).batches(line, "quarantined")}
    if batch not in found:
        raise click.ClickException(f"{batch!r} is not in quarantine. `wafer quarantine list` shows what is.")
    table = Table("code", "line", "column", "found", "what to do", title=batch)
    for reason in found[batch].reasons:
        cells = (reason[name] for name in ("code", "row", "column", "found", "remedy"))
        table.add_row(*("" if cell is None else str(cell) for cell in cells))
    output.print(table)
    output.print(f"kept as s3://{S3Store(settings).lake}/{quarantine_folder(line, batch)}{batch}")


@quarantine.command("replay")
@_line_option
@click.argument("batches", nargs=-1)
def quarantine_replay(line: Line, batches: tuple[str, ...]) -> None:
    """Check quarantined BATCHES again; without a name, all of them.

    That helps after a change of the contract. A file that has left the landing bucket is put back from the copy that
    the quarantine keeps.
    """
    from resources.mongo import WaferStore
    from resources.s3 import S3Store
    from wafer_assets.operations.landing import restore_quarantined

    settings = load_settings()
    quarantined = {item.batch for item in WaferStore(settings).batches(line, "quarantined")}
    if unknown := sorted(set(batches) - quarantined):
        raise click.ClickException(f"Not in quarantine: {', '.join(unknown)}. `wafer quarantine list` shows what is.")
    wanted = set(batches) or quarantined
    if not wanted:
        console.print("The quarantine is empty.")
        return
    with _instance(settings) as instance:
        restored = restore_quarantined(line, wanted, S3Store(settings))
        if restored:
            console.print(f"{len(restored)} files put back into the landing bucket.")
        _run_batches(settings, instance, line, f"ingest_{line}", wanted)
        left = {item.batch for item in WaferStore(settings).batches(line, "quarantined")} & wanted
        console.print(f"{len(wanted) - len(left)} of {len(wanted)} batches are accepted now.")


@main.command()
@click.argument("batches", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option(
    "--predict",
    "to_score",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of files to score with the new model; without it, none are, unless all files are simulated.",
)
def demo(batches: Path | None, to_score: Path | None) -> None:
    """Run everything once, from files to predictions.

    It starts the services, ingests, trains, evaluates, promotes, scores, prints a summary (also in
    `.wafer/summary.json`) and stops what it started. BATCHES is a folder of labelled files; without it the demo
    simulates its own, and files to score.

    What an earlier demo did and the stores still hold is not done again. The demo exits with 1 if an accepted file
    is left unscored, and says why.

      wafer demo
      wafer demo batches --predict to-score
    """
    from resources.local_services import LocalServices

    settings = load_settings()
    local = LocalServices(settings)
    with console.status("starting S3, MongoDB and MLflow"):
        Thread(target=_import_learners, daemon=True).start()
        settings = local.up()
    try:
        if batches is None:
            batches = settings.state_dir / "simulated"
            _simulate("training", batches, 14, 100, True, 0)
            if to_score is None:
                to_score = settings.state_dir / "simulated-to-score"
                _simulate("prediction", to_score, 3, 100, True, 0, first_wafer=1_401)
        _upload(settings, "training", [batches])
        with _instance(settings) as instance:
            _ingest(settings, instance, "training")
            _train_what_is_left(settings, instance)
            if to_score is not None:
                _upload(settings, "prediction", [to_score])
                _ingest(settings, instance, "prediction")
            with _summarised(settings, instance):
                _score(settings, instance)
    finally:
        if local.started:
            with console.status("stopping the services"):
                local.down()


def _import_learners() -> None:
    """Import, while the servers start on the other core, what takes seconds to import."""
    import xgboost  # noqa: F401


def _train_what_is_left(settings: Settings, instance: "dg.DagsterInstance") -> None:
    from resources.mlflow import Tracking
    from resources.promotions import PromotionLog
    from resources.s3 import S3Store
    from wafer_assets.cli.instance import run_job
    from wafer_assets.keys import training_key
    from wafer_assets.operations.backlog import training_left

    left = training_left(instance, Tracking(settings), PromotionLog(settings), S3Store(settings))
    if left is None:
        console.print("The registered model was trained on these very wafers, and is decided on.")
    elif left == "decide":
        console.print("The registered model was trained on these very wafers; whether it predicts is not decided yet.")
        _require_success(run_job(settings, instance, "train", assets=[training_key("champion")]))
    else:
        _train(settings, instance, {})


@main.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the Dagster UI; by default 3000 or, where that is taken, a free one.",
)
def dev(port: int | None) -> None:
    """Open the Dagster UI on the state that is there.

    The services, the MLflow UI and the reports come with it, and files that land are ingested and scored by
    themselves. Ctrl-C stops everything that was started.
    """
    from resources.local_services import LocalServices, free_port
    from wafer_assets.cli.instance import dagster_home
    from wafer_assets.web.pages import served

    settings = load_settings()
    local = LocalServices(settings)
    with console.status("starting S3, MongoDB and MLflow"):
        settings = local.up()
    try:
        with _instance(settings):
            pass  # sensors follow only what happens while they run, so what was killed before is ended here
        port = port or free_port(3000)
        command = [str(Path(sys.executable).with_name("dagster")), "dev", "-h", "127.0.0.1", "-p", str(port)]
        environment = {
            "PYTHONWARNINGS": "ignore",  # Dagster's remarks on itself
            **os.environ,
            "DAGSTER_HOME": str(settings.dagster_home or dagster_home(settings)),
        }
        # In a session of its own, so that Ctrl-C reaches it once, from here, and it can stop its children.
        with (
            served(settings) as reports,
            subprocess.Popen(command, env=environment, start_new_session=True) as process,
        ):
            console.print(f"Dagster UI   http://127.0.0.1:{port}")
            console.print(f"MLflow UI    {settings.mlflow.tracking_uri}")
            console.print(f"Reports      {reports or f'not served: {settings.pages_url} is taken or elsewhere'}")
            console.print("Ctrl-C stops everything.")
            try:
                sys.exit(process.wait())
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait()
    finally:
        if local.started:
            local.down()


@contextmanager
def _instance(settings: Settings) -> Iterator["dg.DagsterInstance"]:
    from wafer_assets.cli.instance import open_instance

    with open_instance(settings) as instance:
        yield instance


@contextmanager
def _summarised(settings: Settings, instance: "dg.DagsterInstance") -> Iterator[None]:
    """Print the summary after the block, and before the error that it ends with."""
    try:
        yield
    except click.ClickException:
        _print_summary(settings, instance)
        raise
    _print_summary(settings, instance)


def _print_summary(settings: Settings, instance: "dg.DagsterInstance") -> None:
    from wafer_assets.cli.summary import render_summary
    from wafer_assets.operations.facts import read_summary

    summary = read_summary(instance)
    file = settings.state_dir / "summary.json"
    file.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    where = {
        "all plots and lineage": "`make dev` (or `wafer dev`)",
        "refused files": "`wafer quarantine list`",
        "these facts": str(file),
    }
    output.print(render_summary(summary, where))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
