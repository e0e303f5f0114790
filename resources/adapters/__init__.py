"""What the platform borrows from inside other projects: a module for each, and nothing of it anywhere else.

Dagster, dagster-k8s and MLflow promise nothing of what is named here, so a new version may take any of it away. The
tests of this package say which, and what it was for. What these projects document is imported from them directly.
"""
