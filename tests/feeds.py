"""The shipped line and its two feeds, for tests that are about no line in particular."""

from schemas.lines import SHIPPED, Feed, LineFeed, read_line

LINE = read_line(SHIPPED / "secom")
TRAINING, PREDICTION = LINE.feed("training"), LINE.feed("prediction")


def feed_of(kind: Feed) -> LineFeed:
    """Return one of the two."""
    return LINE.feed(kind)
