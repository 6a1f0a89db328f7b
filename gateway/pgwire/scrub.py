"""Errors and notices where a marked relation is in reach: severity and SQLSTATE stay, values go.

Kept: severity, SQLSTATE, the position in the agent's own text (with a context it may be one in a value, as of
`email::regtype`: withheld), and names of schema, table, column, type and
constraint. Withheld: message, detail, hint, context and internal queries, which may print values of marked columns.
One exception: an error of class 42 that PostgreSQL raised with a position in the agent's text and without any
context comes from analysing that text, before a row was read; its words help and name only what the agent wrote.
Functions cannot forge it: what they raise carries a context.
"""

from __future__ import annotations

from gateway.pgwire.backend import Report
from gateway.pgwire.framing import BodyReader, cstring, message

_KEPT = frozenset("SVCPstcdn")


def scrub(error: Report, why: str = "a column marked sensitive is in reach") -> Report:
    """Return the error as an agent may see it, and why it may not see more."""
    analysed = error.sqlstate.startswith("42") and error.get("P") is not None and error.get("W") is None
    if analysed and error.get("q") is None and error.get("R") != "exec_stmt_raise":
        return Report(tuple((code, value) for code, value in error.fields if code in _KEPT or code == "M"))
    kept = [(code, value) for code, value in error.fields if code in _KEPT and (code != "P" or error.get("W") is None)]
    text = f"error {error.sqlstate} (its words are withheld: {why})"
    return Report((*kept, ("M", text)))


def moved(error: Report, characters: int) -> Report:
    """Return an error about a part of the agent's text with the position in the whole of it."""

    def fit(code: str, value: str) -> tuple[str, str]:
        return code, str(int(value) + characters) if code == "P" and value.isdigit() else value

    return Report(tuple(fit(code, value) for code, value in error.fields))


_OWN_DATA = ("COPY ", "JSON data", "unnamed portal", "portal ")
"""Contexts that speak of what the agent itself sent or runs."""


def raised_inside(found: Report) -> bool:
    """Whether something that the statement set off raised it: a trigger, a foreign key's action, a function.

    That reads and prints rows of relations that the statement does not name, so that a connection with marks cannot
    let its words pass whatever the statement itself reaches.
    """
    context = found.get("W")
    return context is not None and not all(line.startswith(_OWN_DATA) for line in context.splitlines())


def notification(body: bytes) -> bytes:
    """Return a NotificationResponse as an agent may see it: who notified which channel, not what was put in."""
    reader = BodyReader(body)
    head, channel, payload = reader.take(4), reader.cstring(), reader.cstring()
    return message(b"A", head + cstring(channel) + cstring(b"***" if payload else b""))
