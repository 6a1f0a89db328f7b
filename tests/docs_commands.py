"""The documentation's pages and the commands on them, as a reader finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of `page` in one of `languages`."""
    for language, body in re.findall(r"^ *```(\w+)\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL):
        if language in languages:
            yield body


def commands(page: Path) -> Iterator[str]:
    """The commands of a page, one line each; of a `console` block only what follows a `$`."""
    for body in blocks(page, "sh"):
        yield from (line for line in body.replace("\\\n", " ").splitlines() if line.strip())
    for body in blocks(page, "console"):
        joined = body.replace("\\\n", " ").splitlines()
        yield from (line.strip()[2:] for line in joined if line.strip().startswith("$ "))
