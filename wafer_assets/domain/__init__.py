"""What the platform computes, in pure Python: values in, values out.

Belongs here: contract, table, model, evaluation, explanation and pages. Dagster, S3, MongoDB and MLflow do not.
"""
