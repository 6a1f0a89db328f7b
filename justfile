# Verbs that only call tools. `just` comes with the test extra: `.venv/bin/just`.

python := ".venv/bin/python"

# List the verbs.
default:
    @just --list --unsorted

# Make the environment: everything for running, testing and checking.
setup:
    python3 -m venv .venv
    .venv/bin/pip install -c constraints.txt -e '.[demo,test]'

# Style, types, import contracts.
check:
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    .venv/bin/lint-imports

# Rewrite the files as the style wants them.
format:
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# All tests, or those that the arguments name.
test *arguments:
    {{ python }} -m pytest {{ arguments }}

# The property tests, with many more examples than CI takes; `just fuzz 100000 tests/wire` for longer, in one place.
fuzz examples="5000" *arguments:
    HYPOTHESIS_PROFILE=fuzz HOOP_FUZZ_EXAMPLES={{ examples }} {{ python }} -m pytest -o faulthandler_timeout=0 -m 'hypothesis or fuzz' {{ arguments }}

# kill -9 at every operation on files, and so many times at random moments; `just crash 48 SEED` for the same moments.
crash rounds="96" seed="":
    HOOP_CRASH_ROUNDS={{ rounds }} HOOP_CRASH_SEED={{ seed }} {{ python }} -m pytest -n0 -o faulthandler_timeout=0 tests/crash -m crash

# pgbench direct, through PgBouncer and through the gateway; writes docs/benchmarks.md.
bench *arguments:
    {{ python }} -m bench {{ arguments }}

# Evidence: written durable, archived, checked, asked over ten million records; writes docs/benchmarks-evidence.md.
bench-evidence *arguments:
    {{ python }} -m bench.evidence {{ arguments }}

# Evidence opened in each DuckDB from 1.0 on that pip installs here, in environments of their own.
duckdb-versions *arguments:
    {{ python }} -m bench.duckdb_versions {{ arguments }}

# Play the corpora of fixtures/ direct and through the gateway: leaks, wrong verdicts, speed of a decision.
score *arguments:
    {{ python }} -m score {{ arguments }}

# PostgreSQL's own regression SQL, from Debian's source package, through the facts: verdicts, what is not understood.
regression *arguments:
    {{ python }} -m score.regression {{ arguments }}

# The whole product on embedded parts.
demo *arguments:
    .venv/bin/hoop-gateway demo {{ arguments }}

# What CI runs.
ci:
    .ci/run

# Write the versions of this environment into constraints.txt.
constraints:
    { head -n 2 constraints.txt; .venv/bin/pip freeze --exclude-editable; } > constraints.new && mv constraints.new constraints.txt
