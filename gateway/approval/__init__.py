"""Asking people: the ledger (a pure state machine), the hash of what will run, and waiting for a decision (Trio)."""
