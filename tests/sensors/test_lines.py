"""Nobody misses a line that is gone, so people are told of it."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from pydantic import SecretStr

from resources.mongo import WaferStore
from resources.notifier import Notifier
from resources.s3 import StoredObject
from schemas.files import LineError
from schemas.lines import LineFeed, Lines
from sensors.lines import lost_lines_sensor
from tests.feeds import LINE
from tests.inbox import Inbox, open_inbox
from wafer_assets.settings import NotificationSettings

GONE = LineFeed("gone", "training", "gone")


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


def look(lines: Lines, mongo: WaferStore, inbox: Inbox, instance: dg.DagsterInstance, cursor: str | None) -> str | None:
    """Let the sensor look once; return its cursor."""
    notifier = Notifier(NotificationSettings(urls=(SecretStr(inbox.url),)))
    resources = {"wafers": mongo, "notifier": notifier}
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
    return lost_lines_sensor(lines).evaluate_tick(context).cursor


def test_each_lost_line_is_told_once_until_it_is_back(mongo: WaferStore, inbox: Inbox) -> None:
    source = StoredObject("gone/training/a.csv", 1, "etag", datetime(2026, 1, 1, tzinfo=UTC))
    mongo.quarantine_batch(GONE, "a.csv", [{"code": "file_empty"}], source)
    declared = Lines({LINE.name: LINE}, ())
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = look(declared, mongo, inbox, instance, None)
        cursor = look(declared, mongo, inbox, instance, cursor)
        assert inbox.titles == ["The line gone is lost"]
        assert "`wafer lines remove gone`" in inbox.bodies[0]
        back = Lines({LINE.name: LINE, "gone": LINE.model_copy(update={"name": "gone"})}, ())
        cursor = look(back, mongo, inbox, instance, cursor)
        look(declared, mongo, inbox, instance, cursor)
    assert len(inbox.titles) == 2, "gone again"


def test_a_folder_that_cannot_be_read_is_told_with_its_reason(mongo: WaferStore, inbox: Inbox) -> None:
    wrong = LineError("colour", "'red'", "Remove it.").at("etch/line.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        look(Lines({LINE.name: LINE}, (wrong,)), mongo, inbox, instance, None)
    assert inbox.titles == ["The line etch is lost"]
    assert "etch/line.yaml" in inbox.bodies[0]
