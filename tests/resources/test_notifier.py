"""Messages to people: they arrive, tell no secret, and do not come in floods."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time

import dagster as dg
import pytest
from pydantic import SecretStr

from resources.notifier import NotificationError, Notifier, redact
from tests.inbox import Inbox, open_inbox
from wafer_assets.settings import NotificationSettings

EIGHT = 1_800_000_000.0  # 2027-01-15 08:00 UTC


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Clock:
    """A clock that stands so many minutes after eight."""

    minutes = 0.0

    def __call__(self) -> float:
        return EIGHT + 60 * self.minutes


@pytest.fixture
def clock() -> Clock:
    return Clock()


def notifier(*urls: str, max_per_hour: int = 20, clock: Callable[[], float] = time) -> Notifier:
    settings = NotificationSettings(urls=tuple(SecretStr(url) for url in urls), max_per_hour=max_per_hour)
    return Notifier(settings, clock)


@pytest.fixture(autouse=True)
def _warnings_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The command line, which other tests call, quiets the root logger of its process."""
    caplog.set_level(logging.WARNING)


def test_without_addresses_a_message_is_in_the_log(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    notifier().send(instance, "Run failed", "It broke.")
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("wafer.notifications", "WARNING", "Run failed\nIt broke.")
    ]


def test_a_message_gets_to_every_address_and_the_log(
    inbox: Inbox, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    notifier(inbox.url, inbox.url).send(instance, "Run failed", "It <broke> & \\n stopped.")
    assert [(message["title"], message["message"]) for message in inbox.messages] == [
        ("Run failed", "It <broke> & \\n stopped.")
    ] * 2
    assert "It <broke>" in caplog.text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mongodb://user:password@host/db?x=1", "mongodb://***@host/db?x=1"),
        ("mongodb+srv://user:p/w@d@host, s3://k@bucket/key", "mongodb+srv://***@host, s3://***@bucket/key"),
        ("'postgresql://u:p@db' and \"https://token@host/\"", "'postgresql://***@db' and \"https://***@host/\""),
        ("s3://lake/a@b.csv from someone@example.com", "s3://lake/a@b.csv from someone@example.com"),
        ("http://host:80/x\nme@example.com", "http://host:80/x\nme@example.com"),
    ],
)
def test_users_and_passwords_are_taken_out_of_urls(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_messages_tell_no_password(
    inbox: Inbox, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    notifier(inbox.url).send(instance, "No http://u:geheim@s3", "No answer of mongodb://wafer:geheim@host:27017/db.")
    assert inbox.messages[0]["title"] == "No http://***@s3"
    assert inbox.bodies == ["No answer of mongodb://***@host:27017/db."]
    assert "geheim" not in caplog.text


def test_addresses_that_fail_are_named_by_number_and_never_shown(
    inbox: Inbox, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.NOTSET)
    inbox.status = 500
    bad = ["slack://hunter2", "hunter2-t0ken", "unknown://t0ken/hunter2", "json://[t0ken:hunter2"]
    with pytest.raises(NotificationError, match="WAFER_NOTIFICATIONS__URLS") as failure:
        notifier(inbox.url, *bad).send(instance, "Run failed", "It broke.")
    assert failure.value.code == "notification_failed"
    assert not failure.value.reached
    assert "number 1 (json), number 2 (slack), number 3 (no URL), number 4 (unknown), number 5 (json)" in str(
        failure.value
    )
    assert failure.value.__cause__ is None
    assert failure.value.__context__ is None
    shown = "".join([str(failure.value), caplog.text, *capfd.readouterr()])
    assert "hunter2" not in shown
    assert "t0ken" not in shown


def test_addresses_are_not_logged_when_all_goes_well_either(
    inbox: Inbox, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.NOTSET)
    notifier(inbox.url).send(instance, "Run failed", "It broke.")
    assert inbox.bodies == ["It broke."]
    assert "hunter2" not in caplog.text
    assert "t0ken" not in caplog.text


def test_a_bad_address_keeps_no_message_from_the_others(inbox: Inbox, instance: dg.DagsterInstance) -> None:
    with pytest.raises(NotificationError, match=r"1 of 2 .* number 1 \(slack\)") as failure:
        notifier("slack://x", inbox.url).send(instance, "Run failed", "It broke.")
    assert failure.value.reached
    assert inbox.bodies == ["It broke."]


def test_no_more_than_the_limit_is_sent_in_any_hour(inbox: Inbox, instance: dg.DagsterInstance, clock: Clock) -> None:
    for minute in (0, 50, 55, 56, 61, 62):
        clock.minutes = minute
        notifier(inbox.url, max_per_hour=2, clock=clock).send(instance, "", f"At {minute}.")
    # The one of minute 0 is an hour ago at minute 61, that of minute 50 is not at minute 62.
    assert [body.partition("\n")[0] for body in inbox.bodies] == ["At 0.", "At 50.", "At 61."]


def test_what_was_held_back_is_counted_in_the_next_message_once(
    inbox: Inbox, instance: dg.DagsterInstance, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for minute in (0, 10, 20, 30, 61, 122):
        clock.minutes = minute
        notifier(inbox.url, max_per_hour=1, clock=clock).send(instance, "Title", f"At {minute}.")
    held_back = "3 more messages were held back since 2027-01-15 08:10 UTC; the Dagster UI shows all."
    assert inbox.bodies == ["At 0.", f"At 61.\n\n{held_back}", "At 122."]
    assert "At 20." in caplog.text


def test_one_held_back_message_is_told_in_the_singular(
    inbox: Inbox, instance: dg.DagsterInstance, clock: Clock
) -> None:
    for minute in (0, 1, 61):
        clock.minutes = minute
        notifier(inbox.url, max_per_hour=1, clock=clock).send(instance, "Title", "Body.")
    assert "1 more message was held back since" in inbox.bodies[-1]


def test_a_message_that_reached_nobody_does_not_count(inbox: Inbox, instance: dg.DagsterInstance, clock: Clock) -> None:
    limited = notifier(inbox.url, max_per_hour=1, clock=clock)
    limited.send(instance, "Title", "First.")
    limited.send(instance, "Title", "Held back.")
    clock.minutes = 61
    inbox.status = 503
    for _ in range(2):
        with pytest.raises(NotificationError):
            limited.send(instance, "Title", "Second.")
    inbox.status = 200
    limited.send(instance, "Title", "Second.")
    assert len(inbox.bodies) == 2
    assert inbox.bodies[1].startswith("Second.\n\n1 more message ")


def test_a_clock_that_was_set_back_stops_nothing(inbox: Inbox, instance: dg.DagsterInstance, clock: Clock) -> None:
    limited = notifier(inbox.url, max_per_hour=1, clock=clock)
    limited.send(instance, "Title", "At eight.")
    clock.minutes = -600
    limited.send(instance, "Title", "Ten hours earlier.")
    limited.send(instance, "Title", "Held back.")
    assert inbox.bodies == ["At eight.", "Ten hours earlier."]


def test_a_restart_forgets_nothing(inbox: Inbox, tmp_path: Path, clock: Clock) -> None:
    for minute in (0, 1, 61):
        clock.minutes = minute
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            notifier(inbox.url, max_per_hour=1, clock=clock).send(instance, "Title", f"At {minute}.")
    assert [body.partition("\n")[0] for body in inbox.bodies] == ["At 0.", "At 61."]
    assert "1 more message" in inbox.bodies[1]


# --- Whose message it is ---


def test_a_line_tells_its_own_receivers_and_everybody_else_the_rest(instance: dg.DagsterInstance) -> None:
    with open_inbox() as general, open_inbox() as etch, open_inbox() as implant:
        receivers = {"etch-team": SecretStr(etch.url), "implant-team": SecretStr(implant.url)}
        settings = NotificationSettings(urls=(SecretStr(general.url),), receivers=receivers)
        told = Notifier(settings)
        told.send(instance, "A daemon is gone", "Of no line.")
        told.send(instance, "Run failed", "Of a line that names nobody.", "secom")
        told.send(instance, "Run failed", "Of etching.", "metal_etch", ["etch-team"])
        told.send(instance, "Run failed", "Of both.", "mixed", ["etch-team", "implant-team"])
        assert general.bodies == ["Of no line.", "Of a line that names nobody."]
        assert etch.bodies == ["Of etching.", "Of both."]
        assert implant.bodies == ["Of both."]


def test_a_receiver_without_address_is_logged_and_those_of_everything_are_told_instead(
    inbox: Inbox, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    notifier(inbox.url).send(instance, "Run failed", "It broke.", "metal_etch", ["etch-team"])
    assert inbox.bodies == ["It broke."]
    assert "No address is set for etch-team in WAFER_NOTIFICATIONS__RECEIVERS." in caplog.text


def test_a_line_that_floods_silences_no_other(inbox: Inbox, instance: dg.DagsterInstance, clock: Clock) -> None:
    limited = notifier(inbox.url, max_per_hour=2, clock=clock)
    for number in range(5):
        limited.send(instance, "Run failed", f"Etching {number}.", "metal_etch")
    limited.send(instance, "Run failed", "Implanting.", "implant")
    limited.send(instance, "A daemon is gone", "Of no line.")
    assert inbox.bodies == ["Etching 0.", "Etching 1.", "Implanting.", "Of no line."]
    clock.minutes = 61
    limited.send(instance, "Run failed", "Implanting again.", "implant")
    limited.send(instance, "Run failed", "Etching 5.", "metal_etch")
    assert inbox.bodies[4] == "Implanting again.", "what was held back of another line is not told here"
    assert inbox.bodies[5].startswith("Etching 5.\n\n3 more messages were held back since")


def test_an_address_of_a_receiver_is_never_shown(
    inbox: Inbox, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.status = 500
    settings = NotificationSettings(receivers={"etch-team": SecretStr(inbox.url)})
    with pytest.raises(NotificationError, match=r"number 1 \(json\).*WAFER_NOTIFICATIONS__RECEIVERS") as failure:
        Notifier(settings).send(instance, "Run failed", "It broke.", "metal_etch", ["etch-team"])
    for shown in (str(failure.value), caplog.text, repr(settings)):
        assert "hunter2" not in shown
        assert "t0ken" not in shown
