"""Masking: from lineage to a plan for each result, and the rewriting of rows. Pure; no I/O."""
