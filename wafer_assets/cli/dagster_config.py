"""Dagster's own configuration on a laptop: written at first, brought up to date while nobody has edited it."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

DAGSTER_YAML = """\
# Written once by `wafer`; edit it as you like.
telemetry:
  enabled: false
nux:
  enabled: false
run_launcher:
  module: resources.run_launcher
  class: WatchedRunLauncher
concurrency:
  runs:
    max_concurrent_runs: 2
  # One run at a time that trains, and one that ingests a feed's files; the others wait in the queue.
  pools:
    default_limit: 1
    granularity: run
# A run whose process is gone is failed, and started again; a step that failed by itself is not.
run_monitoring:
  enabled: true
  poll_interval_seconds: 30
  start_timeout_seconds: 180
  cancel_timeout_seconds: 180
  max_runtime_seconds: 7200
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false
retention:
  schedule:
    purge_after_days: 30
  sensor:
    purge_after_days:
      skipped: 1
      failure: 30
      success: 7
"""

_FORMER = {
    # SHA-256 of what earlier versions of the platform wrote, for an unedited file to be known by.
    "1bd625537f96ae7f1d630a4d031c61328852e3b3e7adbedb093c82f7e54461de",
    "c501c9d16aef535a95db41de3e7d3c36a09d46c47434d1ad8c6b1f335d2e3f23",
    "7f64fffa97a7b0b4b534359550465b72082db7fb2dbe8f05a42643aaa04333fa",
}


def bring_up_to_date(path: Path) -> None:
    """Write the configuration where there is none, or the untouched one of an earlier version."""
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() in _FORMER:
        path.write_text(DAGSTER_YAML)


def differences(path: Path) -> list[str]:
    """Say, a line each, where an edited configuration is not what the platform's documentation promises."""
    if not path.exists() or path.read_text() == DAGSTER_YAML:
        return []
    try:
        found = dict(_leaves(yaml.safe_load(path.read_text())))
    except yaml.YAMLError as error:
        return [f"it is no YAML: {' '.join(str(error).split())}"]
    promised = dict(_leaves(yaml.safe_load(DAGSTER_YAML)))
    return [
        f"{name} is {found.get(name, 'not set')}, and the platform's is {promised.get(name, 'not set')}"
        for name in promised | found
        if found.get(name) != promised.get(name)
    ]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, object]]:
    if not isinstance(value, Mapping):
        yield name or "the file", value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{name}.{key}" if name else str(key))
