"""How the platform gets into a cluster."""
