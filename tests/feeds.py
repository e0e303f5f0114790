"""The shipped line, its two feeds and lines made of it, for tests that are about no line in particular."""

from typing import Any

from schemas.lines import SHIPPED, Alarm, Feed, Line, LineFeed, read_line

LINE = read_line(SHIPPED / "secom")
TRAINING, PREDICTION = LINE.feed("training"), LINE.feed("prediction")


def feed_of(kind: Feed) -> LineFeed:
    """Return one of the two."""
    return LINE.feed(kind)


def line_like(name: str, **declared: Any) -> Line:
    """Return a line of another name, which declares the rest as the shipped one but for what is given."""
    return LINE.model_copy(update={"name": name, **declared})


def line_with(**hyperparameters: Any) -> Line:
    """Return the shipped line with hyperparameters of its own, those of the alarm among them."""
    alarm = {name: hyperparameters.pop(name) for name in ("capacity", "cost_ratio") if name in hyperparameters}
    return line_like(LINE.name, model=hyperparameters, alarm=Alarm(**alarm) if alarm else LINE.alarm)
