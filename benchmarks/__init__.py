"""Runnable measurements: each script prints one table of figures beside their goals."""
