"""What was done, written down before it is done, in a form that proves itself.

Left to right: `record` builds drafts, `journal` gives each its place in the chain and on disk, `commit` lets many wait
for one sync, `views` lets any DuckDB read it, `reader` answers consoles from a process of its own, `verify` checks
everything again. `entry` and `chain` are pure. The format is docs/evidence.md.
"""
