"""The saved queries: questions that auditors ask, by name. Pure but for reading the package's own file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

from gateway.errors import ClientFault

_HEAD = re.compile(r"^-- ([a-z-]+) \| ([A-Z0-9.]+) \| (.+)\n((?:(?!-- ).*\n)+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Saved:
    """One query: its name, the control that it bears on, what it answers, and its SQL."""

    name: str
    control: str
    answers: str
    sql: str


def saved() -> list[Saved]:
    """Return the saved queries in the order of their file."""
    text = files("gateway.evidence").joinpath("saved.sql").read_text("utf-8")
    return [Saved(one[1], one[2], one[3], one[4].strip().rstrip(";")) for one in _HEAD.finditer(text)]


def saved_query(name: str) -> Saved:
    """Return the query of this name. Raises `ClientFault`."""
    found = {one.name: one for one in saved()}
    if name not in found:
        raise ClientFault(f"no saved query {name}; there are {', '.join(found)}", "22023")
    return found[name]
