"""The scripts that check evidence and exports without this program, and the SQL by which an export's tables follow.

Promises the same bytes for one version of this program, so that their SHA-256 can be published with it and compared:
a script that lies beside what it checks proves nothing about itself.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

from gateway.evidence.views import NO_JOURNALS, NO_SEGMENTS, Sources, empty, sql_over

VIEWS = (
    "records", "sessions", "statements", "transcript", "approvals", "masked", "logins", "alarms", "policies", "access",
    "checkpoints", "gaps",
)  # fmt: skip
"""The views that become tables of an export, with all their columns."""


def derivation() -> str:
    """Return the SQL that makes the views over the entries and notes of an export that is attached as `made`."""
    where = "'/logs/' || place || '/journal/00000001.tsv' AS filename"
    lines = f"(SELECT chain, salt, entry, payload, {where} FROM made.entries)"  # noqa: S608  ours
    entries, payload = f"({empty('entries')})", f"({empty('payload')})"
    sources = Sources(NO_SEGMENTS, NO_JOURNALS, entries, payload, lines, "(SELECT note AS content FROM made.notes)")
    return sql_over(sources)


def verify_script() -> str:
    """Return `verify.py`, which checks an evidence directory."""
    return files("gateway.evidence").joinpath("standalone.py").read_text("utf-8")


def verify_export_script() -> str:
    """Return `verify_export.py`, which checks an export: it knows the SQL of this version by its SHA-256."""
    script = files("gateway.evidence").joinpath("standalone_export.py").read_text("utf-8")
    digest = sha256(derivation().encode()).hexdigest()
    return script.replace("{derivation}", digest, 1).replace("{views}", " ".join(VIEWS), 1)


def scripts() -> dict[str, str]:
    """Return both scripts by their names."""
    return {"verify.py": verify_script(), "verify_export.py": verify_export_script()}


def programs() -> dict[str, str]:
    """Return what an export holds for whoever has nothing else: the script that checks it, and its SQL, by name."""
    return {"derivation.sql": derivation(), "verify_export.py": verify_export_script()}
