"""The alerts, as promtool plays them: each fires for what it is about, and not for what only looks like it."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.local import program
from deploy.monitoring.rules import read_rules, rule_files
from tests.deploy.monitoring.servers import needs_prometheus

ROOT = Path(__file__).parents[3]
RULES = {file.stem: read_rules(file) for file in rule_files()}
ALERTS = {
    rule["alert"]: rule
    for rules in RULES.values()
    for group in rules["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


@dataclass(frozen=True)
class Case:
    """What promtool plays to an alert.

    Attributes
    ----------
    fires, quiet
        Values by series, one a minute: what it is about, and what it is not.
    summary
        What people then read.
    labels
        Of the alert, beside its severity.
    at
        Minute of the look.
    """

    fires: dict[str, str]
    quiet: dict[str, str]
    summary: str
    labels: dict[str, str] = field(default_factory=dict)
    at: int = 30


OLDEST = "wafer_files_waiting_oldest_age_seconds"
FILES = '{line="etch", feed="training"}'
ETCH = {"line": "etch", "feed": "training"}
CASES = {
    "ExporterDown": Case(
        {'up{job="wafer", instance="here"}': "0x40"},
        {'up{job="wafer", instance="here"}': "1x29 0x10", 'up{job="other"}': "0x40"},
        "here does not answer: nobody knows how the platform is.",
        {"job": "wafer", "instance": "here"},
    ),
    "SourceAway": Case(
        {'wafer_source_up{source="mongodb"}': "0x40", 'wafer_source_up{source="s3"}': "1x40"},
        {'wafer_source_up{source="mongodb"}': "1x28 0x1 1x10"},
        "mongodb does not answer.",
        {"source": "mongodb"},
    ),
    "DaemonSilent": Case(
        {'wafer_daemon_heartbeat_age_seconds{daemon="sensor"}': "0+60x40"},
        # One daemon of several that lags is not all of them.
        {
            'wafer_daemon_heartbeat_age_seconds{daemon="sensor"}': "0+60x40",
            'wafer_daemon_heartbeat_age_seconds{daemon="scheduler"}': "20x40",
        },
        "Dagster's daemon has been silent for 30m 0s: nothing starts by itself.",
    ),
    "CodeLocationGone": Case(
        {
            'wafer_sensor_tick_age_seconds{sensor="land"}': "0+60x40",
            'wafer_daemon_heartbeat_age_seconds{daemon="a"}': "9x40",
        },
        # The daemon is silent, which is another alert's.
        {
            'wafer_sensor_tick_age_seconds{sensor="land"}': "0+60x40",
            'wafer_daemon_heartbeat_age_seconds{daemon="a"}': "0+60x40",
        },
        "The daemon lives, and no sensor has ticked for 30m 0s.",
    ),
    "SensorFailing": Case(
        {
            'wafer_sensor_ticks{sensor="land", state="failure"}': "9x40",
            'wafer_sensor_ticks{sensor="land", state="skipped"}': "3x40",
        },
        {
            'wafer_sensor_ticks{sensor="land", state="failure"}': "3x40",
            'wafer_sensor_ticks{sensor="land", state="skipped"}': "9x40",
        },
        "Most ticks of land fail.",
        {"sensor": "land", "state": "failure"},
    ),
    "RunsQueued": Case(
        {'wafer_runs_oldest_age_seconds{state="queued"}': "0+60x60"},
        {
            'wafer_runs_oldest_age_seconds{state="queued"}': "1700x60",
            'wafer_runs_oldest_age_seconds{state="running"}': "3000x60",
        },
        "A run has waited for 40m 0s: the queue does not move.",
        {"state": "queued"},
        at=40,
    ),
    "RunsStuck": Case(
        {'wafer_runs_oldest_age_seconds{state="running"}': "9060x60"},
        {'wafer_runs_oldest_age_seconds{state="running"}': "7000x60"},
        "A run has been at work for 2h 31m 0s, longer than any may.",
        {"state": "running"},
    ),
    "FilesWaiting": Case(
        {f"{OLDEST}{FILES}": "0+60x40"},
        {f"{OLDEST}{FILES}": "0+60x14 0+60x13 0x20"},
        "etch: a training file has had no outcome for 30m 0s.",
        ETCH,
    ),
    "FilesRefused": Case(
        {
            'wafer_files{line="etch", feed="training", outcome="quarantined"}': "0x60 10x60",
            'wafer_files{line="etch", feed="training", outcome="accepted"}': "50x60 60x60",
        },
        # Many refused files, all of before.
        {
            'wafer_files{line="etch", feed="training", outcome="quarantined"}': "90x120",
            'wafer_files{line="etch", feed="training", outcome="accepted"}': "5x60 9x60",
        },
        "etch: more than a fifth of the training files of the last half hour were refused.",
        ETCH,
        at=75,
    ),
    "FilesNotStored": Case(
        {f"wafer_files_failed{FILES}": "2x40"},
        {f"wafer_files_failed{FILES}": "0x25 2x3 0x20"},
        "etch: 2 training files cannot be stored.",
        ETCH,
    ),
    "TableStale": Case(
        {
            'wafer_asset_age_seconds{line="etch", feed="training", asset="wafer_table"}': "9000+60x40",
            'wafer_asset_age_seconds{line="etch", feed="training", asset="wafer_records"}': "3600+60x40",
        },
        {
            'wafer_asset_age_seconds{line="etch", feed="training", asset="wafer_table"}': "3500+60x40",
            'wafer_asset_age_seconds{line="etch", feed="training", asset="wafer_records"}': "3600+60x40",
        },
        "etch: accepted files have been missing from the table for an hour.",
        {"line": "etch"},
    ),
    "ChampionMissing": Case(
        {'wafer_champion{line="etch"}': "0x40"},
        {'wafer_champion{line="etch"}': "1x25 0x3 1x20"},
        "etch has no champion: nothing is scored.",
        {"line": "etch"},
    ),
    "DiskAlmostFull": Case(
        {
            'node_filesystem_avail_bytes{instance="n1", mountpoint="/", fstype="ext4"}': "1024x40",
            'node_filesystem_size_bytes{instance="n1", mountpoint="/", fstype="ext4"}': "20480x40",
        },
        {
            'node_filesystem_avail_bytes{instance="n1", mountpoint="/run", fstype="tmpfs"}': "0x40",
            'node_filesystem_size_bytes{instance="n1", mountpoint="/run", fstype="tmpfs"}': "20480x40",
        },
        "n1: / has 1kiB left.",
        {"instance": "n1", "mountpoint": "/", "fstype": "ext4"},
    ),
    "MemoryShort": Case(
        {
            'node_memory_MemAvailable_bytes{instance="n1"}': "1024x40",
            'node_memory_MemTotal_bytes{instance="n1"}': "20480x40",
        },
        {
            'node_memory_MemAvailable_bytes{instance="n1"}': "4096x40",
            'node_memory_MemTotal_bytes{instance="n1"}': "20480x40",
        },
        "n1 has 1kiB of memory left.",
        {"instance": "n1"},
    ),
}


def played(alert: str, case: Case, fires: bool) -> dict[str, Any]:
    rule = ALERTS[alert]
    told = {
        "exp_labels": {**rule["labels"], **case.labels},
        "exp_annotations": {**rule["annotations"], "summary": case.summary},
    }
    return {
        "name": f"{alert} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in (case.fires if fires else case.quiet).items()
        ],
        "alert_rule_test": [{"eval_time": f"{case.at}m", "alertname": alert, "exp_alerts": [told] if fires else []}],
    }


@needs_prometheus
def test_each_alert_fires_when_it_must_and_not_when_it_must_not(tmp_path: Path) -> None:
    files = []
    for name, rules in RULES.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(rules))
        files.append(file.name)
    watchdog = ALERTS["Watchdog"]
    always = {
        "interval": "1m",
        "alert_rule_test": [
            {
                "eval_time": "1m",
                "alertname": "Watchdog",
                "exp_alerts": [{"exp_labels": watchdog["labels"], "exp_annotations": watchdog["annotations"]}],
            }
        ],
    }
    tests = [played(alert, case, fires) for alert, case in CASES.items() for fires in (True, False)]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "1m", "tests": [*tests, always]}))
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_goes_unplayed() -> None:
    assert CASES.keys() | {"Watchdog"} == ALERTS.keys()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_and_leads_to_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"} or alert == "Watchdog"
    page = (ROOT / "docs" / "monitoring.md").read_text()
    section = page.partition(f"\n### {alert}\n")[2].partition("\n#")[0]
    assert rule["annotations"]["runbook_url"].endswith(f"/docs/monitoring.md#{alert.lower()}")
    for part in ("Means", "Hurts", "Look", "Do"):
        assert f"**{part}**" in section, f"the section {alert} of docs/monitoring.md does not say what it {part}"


def test_only_durations_are_divided() -> None:
    (lines,) = [file for file in rule_files() if file.stem == "lines"]
    slow, fast = read_rules(lines), read_rules(lines, factor=60)
    pairs = [
        (before, after)
        for one, other in zip(slow["groups"], fast["groups"], strict=True)
        for before, after in zip(one["rules"], other["rules"], strict=True)
    ]
    by_name = {before["alert"]: (before, after) for before, after in pairs}
    assert by_name["FilesWaiting"][1]["expr"].endswith("> (15 * 60 / 60)")
    assert by_name["FilesWaiting"][1]["for"] == "1000ms"
    assert "[30000ms]" in by_name["FilesRefused"][1]["expr"]
    assert "0.2 *" in by_name["FilesRefused"][1]["expr"]
    for before, after in pairs:
        assert (before["labels"], before["annotations"]) == (after["labels"], after["annotations"])


def test_every_duration_of_an_expression_is_one_that_can_be_divided() -> None:
    for rule in ALERTS.values():
        rest = re.sub(r"\(\d+ \* 60\)|\[\d+[smhd]\]", "", rule["expr"])
        assert not re.search(r"\b\d{2,}\b", rest), rule["expr"]
