"""Messages to people, by whatever services the settings name: failed runs and refused files.

What may be sent is limited, and what is known of the last hour is kept in the Dagster instance, because the code
server restarts with every deployment.

What is told, and in which words, is in `sensors.notifications`.
"""

import logging
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import time

import dagster as dg
from pydantic import BaseModel, SecretStr

from resources.adapters.dagster import store_value, stored_value
from wafer_assets.settings import NotificationSettings

STATE_KEY = "wafer_notifications"
"""What is known of the last hour; a line's own follows after a slash."""
_HOUR = 3600.0
_TIMEOUT = 15.0  # seconds for an address; Dagster gives a sensor a minute

_log = logging.getLogger("wafer.notifications")

# Up to the last `@`, because people write passwords without escaping their slashes.
_USERINFO = re.compile(r"""://(?:[^\s/?#:"']*:[^\s"']*|[^\s/?#]*)@""")


def redact(text: str) -> str:
    """Return the text without the users and passwords of its URLs."""
    return _USERINFO.sub("://***@", text)


# Dagster tries a tick again after an error of its own kind; after any other, a failed run counts as told.
class NotificationError(dg.DagsterError):
    """A message did not get to all configured addresses.

    Attributes
    ----------
    reached
        Whether it got to some, which a second try would tell again.
    """

    code = "notification_failed"

    def __init__(self, failed: Sequence[str], addresses: int) -> None:
        super().__init__(
            f"{len(failed)} of {addresses} addresses did not take a message: {', '.join(failed)}. Check that each in "
            "WAFER_NOTIFICATIONS__URLS and WAFER_NOTIFICATIONS__RECEIVERS is a valid Apprise URL, and that its service "
            "can be reached."
        )
        self.reached = len(failed) < addresses


class _State(BaseModel):
    """What the next message depends on, in seconds since 1970."""

    sent: tuple[float, ...] = ()
    held_back: int = 0
    held_back_since: float = 0


class Notifier:
    """Sends messages to the log and to the configured addresses.

    The log gets all of them, the addresses at most `max_per_hour` about a line in any hour; a message says how many
    were held back before it. Two sensors that send at the same moment may count as one.

    Parameters
    ----------
    settings
        The addresses, and how many messages they get in an hour.
    clock
        Returns the time, in seconds since 1970.
    """

    def __init__(self, settings: NotificationSettings, clock: Callable[[], float] = time) -> None:
        self._settings = settings
        self._clock = clock

    def send(
        self, instance: dg.DagsterInstance, title: str, body: str, line: str = "", receivers: Sequence[str] = ()
    ) -> None:
        """Send a message, or count it where too many were sent.

        Parameters
        ----------
        instance
            Keeps what was sent.
        title, body
            What to say.
        line
            The line that it is about, whose messages count apart: a line that floods silences no other.
        receivers
            Names of those who are told; without any that the settings know, it is those who are told of everything.

        Raises
        ------
        NotificationError
            Some address did not take it. It counts as sent if another did.
        """
        title, body = redact(title), redact(body)
        _log.warning("%s\n%s", title, body)
        urls = self._addresses(receivers)
        if not urls:
            return
        key = f"{STATE_KEY}/{line}" if line else STATE_KEY
        now, state = self._clock(), _load(instance, key)
        # Times in the future are from before the clock was set back.
        recent = tuple(at for at in state.sent if now - _HOUR < at <= now)
        if len(recent) >= self._settings.max_per_hour:
            since = state.held_back_since if state.held_back else now
            _save(instance, key, _State(sent=recent, held_back=state.held_back + 1, held_back_since=since))
            return
        if state.held_back:
            body = f"{body}\n\n{_held_back(state)}"
        failed = [
            f"number {number} ({_schema(url)})"
            for number, url in enumerate(urls, 1)
            if not _delivered(url.get_secret_value(), title, body)
        ]
        if len(failed) < len(urls):
            _save(instance, key, _State(sent=(*recent, now)))
        if failed:
            raise NotificationError(failed, len(urls))

    def _addresses(self, receivers: Sequence[str]) -> tuple[SecretStr, ...]:
        known = self._settings.receivers
        if unknown := [name for name in receivers if name not in known]:
            _log.error("No address is set for %s in WAFER_NOTIFICATIONS__RECEIVERS.", ", ".join(unknown))
        return tuple(known[name] for name in receivers if name in known) or self._settings.urls


def _load(instance: dg.DagsterInstance, key: str) -> _State:
    stored = stored_value(instance, key)
    return _State.model_validate_json(stored) if stored else _State()


def _save(instance: dg.DagsterInstance, key: str, state: _State) -> None:
    store_value(instance, key, state.model_dump_json())


def _held_back(state: _State) -> str:
    messages = "message was" if state.held_back == 1 else "messages were"
    since = datetime.fromtimestamp(state.held_back_since, UTC)
    return f"{state.held_back} more {messages} held back since {since:%Y-%m-%d %H:%M} UTC; the Dagster UI shows all."


def _schema(url: SecretStr) -> str:
    # A mistyped address may be a credential from its first character on.
    found = re.match(r"\s*([A-Za-z0-9]{1,32})://", url.get_secret_value())
    return found[1].lower() if found else "no URL"


def _delivered(url: str, title: str, body: str) -> bool:
    from apprise import Apprise, NotifyFormat, NotifyType

    # Both write URLs and tokens to their logs.
    logging.getLogger("apprise").disabled = True
    logging.getLogger("urllib3").setLevel(logging.INFO)
    try:
        service = Apprise()
        return service.add(url) and bool(
            service.notify(
                title=title,
                body=body,
                notify_type=NotifyType.WARNING,
                body_format=NotifyFormat.TEXT,
                timeout=_TIMEOUT,
            )
        )
    except Exception:  # its message may hold the URL
        return False
