"""What the Prometheus operator takes: the rules, what is scraped, and the dashboards, from the same files."""

import json
from typing import Any

from deploy.monitoring.dashboards import dashboards
from deploy.monitoring.rules import read_rules, rule_files

NAMESPACE = "wafer"
# Labels by which the charts' defaults find objects of others; `release` is the chart's.
SELECTED = {"release": "kube-prometheus-stack"}


def objects() -> list[dict[str, Any]]:
    """Return all objects, in the order in which they are written."""
    return [*_rules(), _monitor(), *_dashboards()]


def _meta(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "wafer", **labels}}


def _rules() -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": _meta(f"wafer-{file.stem}", **SELECTED),
            "spec": read_rules(file),
        }
        for file in rule_files()
    ]


def _monitor() -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": _meta("wafer-metrics", **SELECTED),
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": "wafer-metrics"}},
            # The rules name the job `wafer`, as on a laptop.
            "jobLabel": "wafer/job",
            "endpoints": [{"port": "http", "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s"}],
        },
    }


def _dashboards() -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            # Grafana's sidecar takes what has this label.
            "metadata": _meta(f"wafer-dashboard-{name}", grafana_dashboard="1"),
            "data": {f"wafer-{name}.json": json.dumps(page, indent=1, sort_keys=True)},
        }
        for name, page in dashboards().items()
    ]
