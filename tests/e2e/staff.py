"""The people of a gateway in tests: who watches, who decides, and as whom they log in."""

from __future__ import annotations

import json
import os

DANA, ERIN, OLGA, EVE, ROB = "sub-dana", "sub-erin", "sub-olga", "sub-eve", "sub-rob"


def table(header: str, **keys: object) -> str:
    return "\n".join([f"[[{header}]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]) + "\n"


def rule(**keys: object) -> str:
    return table("connection.rule", **keys)


PEOPLE = "".join(
    [
        table("operator", name="ops", uid=os.getuid(), roles=["watch", "decide"]),
        table("operator", name="dana", subject=DANA, groups=["oncall"], roles=["decide"]),
        table("operator", name="erin", subject=ERIN, groups_from="token", roles=["decide"]),
        table("operator", name="olga", subject=OLGA, groups=["oncall"], roles=["decide"]),
        table("operator", name="eve", subject=EVE, groups=["oncall"]),
        table("operator", name="rob", subject=ROB, groups=["oncall"], roles=["decide"]),
        table("operator", name="away", subject="sub-away", uid=os.getuid() + 1, roles=["decide"]),
    ]
)
