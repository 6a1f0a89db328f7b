"""Understanding statements and judging them: pure functions from bytes, state and catalog to a verdict."""
