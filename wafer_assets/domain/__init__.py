"""What the platform computes, in pure Python: no Dagster, no S3, no MongoDB, no MLflow."""
