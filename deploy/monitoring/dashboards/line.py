"""One line: its files, their ingestion, its table and its model."""

from grafana_foundation_sdk.builders import dashboard as build

from deploy.monitoring.dashboards import SOURCE, page, panel


def dashboard() -> build.Dashboard:
    """Return the dashboard."""
    line = build.QueryVariable("line").label("line").datasource(SOURCE).query("label_values(wafer_champion, line)")
    return (
        page("Line", "wafer-line", "A production line from its files to its model.")
        .with_variable(line)
        .with_panel(
            panel(
                "Files received and waiting",
                "Files that landed, and those of them without outcome.",
                "short",
                ('wafer_files_received{line="$line"}', "{{feed}} received"),
                ('wafer_files_waiting{line="$line"}', "{{feed}} waiting"),
            )
        )
        .with_panel(
            panel("Outcomes", "Files by outcome.", "short", ('wafer_files{line="$line"}', "{{feed}} {{outcome}}"))
        )
        .with_panel(
            panel(
                "Refused, by reason",
                "The ten commonest codes; docs/reasons.md explains them.",
                "short",
                ('topk(10, sum by (reason) (wafer_files_refused{line="$line"}))', "{{reason}}"),
            )
        )
        .with_panel(
            panel("Files not stored", "They keep the contract, and need somebody.", "short",
                  ('wafer_files_failed{line="$line"}', "{{feed}}"))
        )
        .with_panel(
            panel("Age of the assets", "Since each was made last.", "s",
                  ('wafer_asset_age_seconds{line="$line"}', "{{feed}} {{asset}}"))
        )
        .with_panel(
            panel("Time that runs took", "On average, by job.", "s",
                  ('sum by (job_name) (wafer_run_duration_seconds_sum{job_name=~"${line}__.*"})'
                   ' / sum by (job_name) (wafer_run_duration_seconds_count{job_name=~"${line}__.*"})', "{{job_name}}"))
        )
        .with_panel(
            panel("Champion", "Version of the model that predicts.", "short",
                  ('wafer_champion_version{line="$line"}', "version"))
        )
        .with_panel(
            panel("Promised quality", "What the champion's evaluation found.", "percentunit",
                  ('wafer_champion_quality_ratio{line="$line"}', "{{protocol}} {{figure}}"))
        )
    )  # fmt: skip
