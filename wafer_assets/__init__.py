"""The asset graph of the wafer fault platform and the domain it computes."""
