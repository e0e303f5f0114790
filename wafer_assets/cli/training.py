"""`wafer train`: a model with the hyperparameters that were asked for."""

import json
import math
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

import click

from wafer_assets.cli.help import Command
from wafer_assets.cli.options import line_option
from wafer_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg
    from pydantic.fields import FieldInfo

    from schemas.lines import Line


def _hyperparameters(_: click.Context, __: click.Parameter, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values by name, each of them within its bounds."""
    if not overrides:
        return {}
    from pydantic import ValidationError

    from wafer_assets.domain.config import ModelConfig

    values: dict[str, Any] = {}
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator or name not in ModelConfig.model_fields:
            raise click.BadParameter(
                f"{override!r}: give NAME=VALUE with one of {', '.join(ModelConfig.model_fields)}."
            )
        value = _number_or_null(override, text)
        if name in values and values[name] != value:
            raise click.BadParameter(f"{name} is given twice: as {json.dumps(values[name])} and as {text}.")
        values[name] = value
    try:
        config = ModelConfig(**values)
    except ValidationError as error:
        names = [str(each["loc"][0]) if each["loc"] else "" for each in error.errors()]
        raise click.BadParameter(
            " ".join(
                f"{name} is {json.dumps(values[name])}, and must be {_allowed(ModelConfig.model_fields[name])}."
                if name in values
                else f"{each['msg']}."  # of values that do not go together
                for name, each in zip(names, error.errors(), strict=True)
            )
        ) from error
    return {name: getattr(config, name) for name in values}


def _number_or_null(override: str, text: str) -> float | None:
    try:
        value = json.loads(text)
    except ValueError:
        value = math.nan
    if value is None or type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise click.BadParameter(f"{override!r}: {text!r} is not a number or null.")


_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _allowed(field: "FieldInfo") -> str:
    """Say in words which values a hyperparameter takes."""
    kinds = (field.annotation, *get_args(field.annotation))
    kind = "a whole number" if int in kinds else "a number"
    bounds = [
        f"{words} {getattr(bound, name)}"
        for bound in field.metadata
        for name, words in _BOUNDS.items()
        if hasattr(bound, name)
    ]
    return f"{kind}, {' and '.join(bounds)}{', or null' if NoneType in kinds else ''}"


@click.command(cls=Command)
@line_option
@click.option(
    "--set",
    "model",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_hyperparameters,
    help="A hyperparameter in place of its measured default, as a number or null; may be repeated.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    help="Repeats of the 10-fold evaluation; 3 by default.",
)
def train(line: "Line", model: dict[str, Any], repeats: int | None) -> None:
    """Train, evaluate and register a model on all accepted wafers.

    It becomes the champion if it is better than the one before, or, as the first, better than knowing the share of
    faults alone; `wafer models list` says what was decided. A wrong NAME is answered with all that there are, a wrong
    VALUE with what is allowed; the launchpad of the job `train` in the UI describes each. One training at a time:
    where another one is at work, this one says so and waits.

      wafer train
      wafer train --set capacity=0.2 --set k=3 --repeats 5
    """
    from wafer_assets.cli.instance import open_instance
    from wafer_assets.cli.summary import print_summary

    settings = load_settings()
    with open_instance(settings) as instance:
        train_model(settings, instance, line, model, repeats)
        print_summary(settings, instance, line)


def train_model(
    settings: Settings,
    instance: "dg.DagsterInstance",
    line: "Line",
    model: Mapping[str, Any],
    repeats: int | None = None,
) -> None:
    """Run a line's job `train` with these hyperparameters in place of their defaults."""
    from resources.model_config import model_resource
    from wafer_assets.cli.instance import run_job
    from wafer_assets.cli.runs import require_success
    from wafer_assets.keys import name_of

    resources = {
        model_resource(line.name): {"config": dict(model)},
        "evaluation": {"config": {"repeats": repeats} if repeats else {}},
    }
    require_success(run_job(settings, instance, name_of(line.name, "train"), resources=resources))
