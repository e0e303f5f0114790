"""The platform in numbers, for Prometheus: everything is read when somebody asks, or shortly before.

A file here is a source of metrics: the store that it reads may be away without the others' numbers being away too.
`docs/monitoring.md` says how one is added. Names follow Prometheus' conventions: `wafer_`, what it is, its unit.
"""

from wafer_assets.operations.metrics.collecting import Collector, Source
from wafer_assets.operations.metrics.platform import platform_sources

__all__ = ["Collector", "Source", "platform_sources"]
