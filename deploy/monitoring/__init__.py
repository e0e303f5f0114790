"""Watching the platform: rules, routes and dashboards, for a laptop and for a cluster, from one source."""
