"""Alertmanager's configuration: `alertmanager.yaml` with the receivers of the platform and of its lines."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parent / "alertmanager.yaml"


def read_routes(webhooks: Mapping[str, str], lines: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Return the configuration.

    Parameters
    ----------
    webhooks
        Address of each receiver's webhook, by the receiver's name: a credential, as is what is returned.
        `platform` and `watchdog` are those of the platform.
    lines
        Names of the receivers of each line, as its `notify` gives them; those without a webhook are left out, and a
        line that has none left is told to the platform, as with the notifications.
    """
    config: dict[str, Any] = yaml.safe_load(FILE.read_text())
    told = {line: [name for name in names if name in webhooks] for line, names in lines.items()}
    config["route"]["routes"] += [
        {"matchers": [f"line = {line}"], "receiver": name, "continue": number < len(names)}
        for line, names in sorted(told.items())
        for number, name in enumerate(names, 1)
    ]
    known = {"platform", "watchdog", *(name for names in told.values() for name in names)}
    config["receivers"] = [_receiver(name, webhooks) for name in sorted(known)]
    return config


def _receiver(name: str, webhooks: Mapping[str, str]) -> dict[str, Any]:
    # Without a webhook an alert is still shown by Alertmanager, and nobody is told.
    if name not in webhooks:
        return {"name": name}
    return {"name": name, "webhook_configs": [{"url": webhooks[name], "send_resolved": True}]}
