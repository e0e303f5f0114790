"""What is asked for over HTTP: the guard before it, the Dagster UI, reports as pages, and scoring."""
