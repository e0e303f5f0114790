"""What the assets talk to: S3, MongoDB, MLflow, the IO managers, and the local services; one module each."""
