"""Sensors and schedules: what starts runs, and what is told when one fails."""
