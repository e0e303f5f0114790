"""The platform below the lines: runs, queue, daemons, sensors, stores."""

from grafana_foundation_sdk.builders import dashboard as build

from deploy.monitoring.dashboards import page, panel


def dashboard() -> build.Dashboard:
    """Return the dashboard."""
    return (
        page("Platform", "wafer-platform", "Runs, queue, daemons, sensors and stores.")
        .with_panel(panel("Runs", "By state.", "short", ("sum by (state) (wafer_runs)", "{{state}}")))
        .with_panel(
            panel("Oldest run", "That waits, or is at work.", "s", ("wafer_runs_oldest_age_seconds", "{{state}}"))
        )
        .with_panel(
            panel("Last heartbeat of the daemons", "Promised: less than 5 minutes.", "s",
                  ("wafer_daemon_heartbeat_age_seconds", "{{daemon}}"))
        )
        .with_panel(
            panel("Last tick of the sensors", "The ten that ticked longest ago.", "s",
                  ("topk(10, wafer_sensor_tick_age_seconds)", "{{sensor}}"))
        )
        .with_panel(
            panel("Ticks of the last hour", "By how they ended.", "short",
                  ("sum by (state) (wafer_sensor_ticks)", "{{state}}"))
        )
        .with_panel(
            panel("Stores that answer", "1 is yes.", "short", ("wafer_source_up", "{{source}}"))
        )
        .with_panel(
            panel("Sizes", "Of buckets and databases.", "bytes",
                  ("wafer_bucket_size_bytes", "bucket {{bucket}}"),
                  ("wafer_database_size_bytes", "database {{database}}"))
        )
        .with_panel(
            panel("The exporter itself", "Time that reading each source took.", "s",
                  ("wafer_source_read_seconds", "{{source}}"),)
        )
        .with_panel(
            panel("Memory of the exporter", "Resident.", "bytes",
                  ('process_resident_memory_bytes{job="wafer"}', "{{instance}}"))
        )
    )  # fmt: skip
