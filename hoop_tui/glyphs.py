"""The two sets of signs the console draws with: a rich one, and plain ASCII for simple terminals.

A sign never stands alone: a word is always beside it. The plain set is taken under NO_COLOR, on the Linux virtual
console and in locales that are not UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of signs, each one cell wide."""

    name: str
    allow: str
    mask: str
    approve: str
    deny: str
    selected: str
    live: str
    lost: str
    rule: str
    bar: str
    thumb: str
    ellipsis: str
    newline: str
    arrow: str
    back: str
    play: str
    pause: str
    head: str
    done: str
    todo: str
    warning: str
    dot: str
    gap: str


RICH: Final = Glyphs(
    name="rich",
    allow="✓",
    mask="◐",
    approve="◆",
    deny="✗",
    selected="▌",
    live="●",
    lost="○",
    rule="─",
    bar="│",
    thumb="┃",
    ellipsis="…",
    newline="↵",
    arrow="→",
    back="←",
    play="▶",
    pause="‖",
    head="█",
    done="✓",
    todo="·",
    warning="▲",
    dot="·",
    gap="┄",
)
"""For terminals with UTF-8 and colour."""

PLAIN: Final = Glyphs(
    name="plain",
    allow="+",
    mask="%",
    approve="?",
    deny="x",
    selected=">",
    live="*",
    lost="!",
    rule="-",
    bar="|",
    thumb="#",
    ellipsis="~",
    newline="/",
    arrow=">",
    back="<",
    play=">",
    pause="=",
    head="#",
    done="+",
    todo=".",
    warning="!",
    dot="-",
    gap="~",
)
"""ASCII alone."""


def speaks_utf8(encoding: str | None) -> bool:
    """Say whether a terminal's encoding carries every character."""
    return (encoding or "").lower().replace("-", "").replace("_", "") in {"utf8", "utf8sig"}


def choose(environment: Mapping[str, str], encoding: str | None) -> Glyphs:
    """Pick the set for a terminal: plain under NO_COLOR, TERM=linux or dumb, and without UTF-8."""
    simple = "NO_COLOR" in environment or environment.get("TERM", "") in {"linux", "dumb", "vt100", "vt220"}
    return PLAIN if simple or not speaks_utf8(encoding) else RICH


def of_verdict(glyphs: Glyphs, verdict: str | None) -> str:
    """Return the sign that stands beside a verdict's word."""
    return {"allow": glyphs.allow, "mask": glyphs.mask, "approve": glyphs.approve, "deny": glyphs.deny}.get(
        verdict or "", glyphs.dot
    )
