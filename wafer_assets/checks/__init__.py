"""Asset checks: derived from the file contract, and gates on tables and models."""
