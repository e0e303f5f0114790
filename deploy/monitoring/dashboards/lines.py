"""All lines at a glance: which one needs somebody."""

from grafana_foundation_sdk.builders import dashboard as build

from deploy.monitoring.dashboards import page, panel


def dashboard() -> build.Dashboard:
    """Return the dashboard."""
    return (
        page("Lines", "wafer-lines", "All production lines: what waits, what was refused, what predicts.")
        .with_panel(
            panel(
                "Oldest file without outcome",
                "How long the partner of each line has waited. Promised: 15 minutes.",
                "s",
                ("max by (line) (wafer_files_waiting_oldest_age_seconds)", "{{line}}"),
            )
        )
        .with_panel(
            panel(
                "Files", "Files by outcome.", "short", ("sum by (line, outcome) (wafer_files)", "{{line}} {{outcome}}")
            )
        )
        .with_panel(panel("Wafers", "Wafers of accepted files.", "short", ("sum by (line) (wafer_wafers)", "{{line}}")))
        .with_panel(
            panel("Age of the champion", "Since it was registered.", "s", ("wafer_champion_age_seconds", "{{line}}"))
        )
    )
