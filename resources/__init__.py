"""What the platform talks to and keeps things in: S3, MongoDB, MLflow, Dagster, people, and a laptop's local services.

A module or package for each, which alone knows how one talks to it and in which form things are kept there. What is
done with it is in `wafer_assets.operations`, what is computed in `wafer_assets.domain`.
"""
