"""Sessions of agents: logging in to the target, running the pipeline, and ending cleanly (Trio)."""
