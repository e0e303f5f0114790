"""The `wafer` command: thin over the library, so that whatever it does can be done in the UI too.

Here is what it is for and the order of its commands; each group of them has a file of its own. A file of commands
imports what is heavy, and the modules that do so, inside its functions: `--help` pays for none of it.
"""

import click

from wafer_assets.cli.check import check
from wafer_assets.cli.demo import demo
from wafer_assets.cli.dev import dev
from wafer_assets.cli.files import simulate, upload
from wafer_assets.cli.ingest import ingest
from wafer_assets.cli.lines import lines
from wafer_assets.cli.metrics import metrics
from wafer_assets.cli.models import models
from wafer_assets.cli.predictions import predict, report, score, trace
from wafer_assets.cli.quarantine import quarantine
from wafer_assets.cli.serve import serve
from wafer_assets.cli.services import services
from wafer_assets.cli.shell import Shell
from wafer_assets.cli.training import train


@click.group(cls=Shell, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Find faulty wafers: learn from files whose outcome is known, score new files, and see why.

    A batch is one file of wafers; its name is the file's. Two feeds of files are kept apart: those of the feed
    `training` say which wafers were faulty, those of the feed `prediction` are to be scored.

    A first session on a laptop:
      wafer services up               start S3, MongoDB and MLflow
      wafer simulate --out batches    make labelled files to play with
      wafer upload batches            drop them into the landing bucket
      wafer ingest                    check and store what landed
      wafer quarantine list           see what was refused
      wafer train                     train, evaluate, maybe promote a model
      wafer models list               see which model predicts, and why

    Then, with files to score:
      wafer simulate --feed prediction --out to-score
      wafer upload --feed prediction to-score
      wafer ingest --feed prediction
      wafer score                     score all accepted batches that wait
      wafer report BATCH              which wafers, why, how sure
      wafer trace WAFER               where a prediction comes from

    And beside it:
      wafer predict FILE              score a file, store nothing
      wafer serve                     answer scoring requests over HTTP
      wafer dev                       look at everything in the Dagster UI
      wafer metrics                   tell Prometheus how it is
      wafer check FILE                would it be accepted, and if not, why
      wafer lines list                which production lines are declared
      wafer services down             stop the services

    `wafer demo` does all of it at once. Settings come from the environment (WAFER_S3__ENDPOINT_URL and
    so on) or, on a laptop, from the running services.
    """


for command in (
    demo,
    services,
    simulate,
    upload,
    ingest,
    quarantine,
    train,
    models,
    score,
    report,
    trace,
    predict,
    check,
    serve,
    dev,
    metrics,
    lines,
):
    main.add_command(command)
