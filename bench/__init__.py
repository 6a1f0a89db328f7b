"""Measures what the gateway costs: pgbench direct, through PgBouncer, and through the gateway, in one run."""
