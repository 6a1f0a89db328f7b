"""The disposable parser: SQL on stdin, PostgreSQL's syntax tree as JSON on stdout, under limits of its own making.

Run as a script, isolated, with two arguments: bytes of memory and seconds of processor time. It may die of any input:
that is what it is for. Long lists of constants are cut and places left out, since nobody needs them. Imports nothing of
ours.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

_KEPT = 32
"""Constants kept of a long list, rows kept of long VALUES."""
_CONSTANT = {"A_Const", "SetToDefault", "ParamRef"}


def main() -> int:
    """Parse what stdin holds; 0 also for a syntax error, which is an answer."""
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    import pgparse

    text = sys.stdin.buffer.read().decode("utf-8")
    try:
        answer: Any = shorten(pgparse.parse(text))
    except pgparse.PGQueryError as error:
        answer = {"fault": str(error.message), "position": int(error.position) or None}
    except RecursionError:
        answer = {"reason": "the statement is nested too deeply"}
    sys.stdout.write(json.dumps(answer, separators=(",", ":")))
    sys.stdout.flush()
    return 0


def shorten(tree: list[Any]) -> list[Any]:
    """Cut lists of constants and drop places, in the tree itself; a list that holds anything else stays whole."""
    stack: list[Any] = [tree]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            here.pop("location", None)
            for name, value in here.items():
                if isinstance(value, list) and name in {"items", "elements", "valuesLists"}:
                    here[name] = _cut(value)
            stack.extend(value for value in here.values() if isinstance(value, (dict, list)))
        else:
            stack.extend(value for value in here if isinstance(value, (dict, list)))
    return tree


def _cut(values: list[Any]) -> list[Any]:
    """Keep the first constants and everything else; rows are kept that differ in width from the first."""
    kept = []
    constants = 0
    for value in values:
        if _constant(value) or (_row(value) and len(_row(value)) == len(_row(values[0]))):
            constants += 1
            if constants > _KEPT:
                continue
        kept.append(value)
    return kept


def _constant(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _CONSTANT


def _row(value: Any) -> list[Any]:
    """Return the items of a row of constants, else nothing."""
    if not (isinstance(value, dict) and isinstance(value.get("List"), dict)):
        return []
    items = value["List"].get("items")
    return items if isinstance(items, list) and items and all(_constant(item) for item in items) else []


if __name__ == "__main__":
    sys.exit(main())
