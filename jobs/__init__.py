"""Jobs over the asset graph: what runs together, with which executor."""
