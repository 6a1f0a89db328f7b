"""Plays the corpora of `fixtures/` on a real PostgreSQL, direct and through the gateway: `python -m score`."""
