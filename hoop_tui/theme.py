"""Colours: one dark, quiet theme, and what each role of `lines.Span` looks like.

Two levels of grey carry most of the screen, so that the few colours mean something: amber waits for a person, red was
refused or is broken, blue-grey is the gateway's own voice. No colour carries meaning alone.
"""

from __future__ import annotations

from typing import Final

from rich.style import Style
from textual.theme import Theme

GROUND: Final = "#11151a"
RAISED: Final = "#1a2027"
CHOSEN: Final = "#243140"
TEXT: Final = "#c9d1d9"

NIGHT: Final = Theme(
    name="night",
    primary="#7aa7c7",
    secondary="#5b7083",
    accent="#e0b35c",
    warning="#e0b35c",
    error="#e07a70",
    success="#86b58a",
    foreground=TEXT,
    background=GROUND,
    surface=GROUND,
    panel=RAISED,
    dark=True,
    variables={
        "input-cursor-background": TEXT,
        "input-cursor-foreground": GROUND,
        "input-selection-background": "#35506a",
        "border": "#33404d",
        "border-blurred": "#2a333d",
    },
)
"""The console's only theme."""

ROLES: Final[dict[str, Style]] = {
    "text": Style(color=TEXT),
    "strong": Style(color="#f0f4f8", bold=True),
    "dim": Style(color="#8592a0"),
    "faint": Style(color="#5c6874"),
    "title": Style(color="#7aa7c7", bold=True),
    "label": Style(color="#8592a0"),
    "key": Style(color="#9fc3dc", bold=True),
    "sql": Style(color="#dbe2e8"),
    "ok": Style(color="#86b58a"),
    "mask": Style(color="#7fb3b8"),
    "wait": Style(color="#e0b35c"),
    "wait-strong": Style(color="#f0c674", bold=True),
    "bad": Style(color="#e07a70"),
    "bad-strong": Style(color="#ef8a80", bold=True),
    "head": Style(color="#7aa7c7", bold=True),
    "found": Style(color=GROUND, bgcolor="#e0b35c"),
    "tab": Style(color="#8592a0", bgcolor=RAISED),
    "tab-on": Style(color="#f0f4f8", bgcolor=CHOSEN, bold=True),
    "bar": Style(color="#9aa7b3", bgcolor=RAISED),
    "bar-strong": Style(color="#e6ecf1", bgcolor=RAISED, bold=True),
    "bar-ok": Style(color="#86b58a", bgcolor=RAISED),
    "bar-wait": Style(color="#f0c674", bgcolor=RAISED, bold=True),
    "bar-bad": Style(color="#ef8a80", bgcolor=RAISED, bold=True),
    "bar-faint": Style(color="#5c6874", bgcolor=RAISED),
}
"""Role to style. Backgrounds are given only where a role always has one."""

SELECTED: Final = Style(bgcolor=CHOSEN)
"""Laid under a selected row, which a sign marks too."""

SELECTED_PASSIVE: Final = Style(bgcolor=RAISED)
"""Laid under the selected row of a list that has no focus."""


def role_of_verdict(verdict: str | None) -> str:
    """Return the role of a verdict's sign and word."""
    return {"allow": "ok", "mask": "mask", "approve": "wait", "deny": "bad"}.get(verdict or "", "dim")
