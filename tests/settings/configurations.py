"""Texts of `gateway.toml` that tests change a line of, and what is told of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pyrage
import pytest

from gateway.evidence.cosignature import CosignerKey
from gateway.settings import SettingsFault, load

SECRET = "hunter2-Sesame"
IDENTITIES = tuple(pyrage.x25519.Identity.generate() for _ in range(3))
AUDITORS = tuple(str(one.to_public()) for one in IDENTITIES)
OWN = str(IDENTITIES[2])
HEAD = "[identity]\ndevelopment = true\n"
CONNECTION = """
[[connection]]
name = "orders"
target = "postgresql://db.example:5433/orders?sslmode=verify-full"
username = "app"
password = "env:ORDERS_PASSWORD"
agents = ["group:/reporting", "sub:x", "any"]
"""
RECIPIENTS = HEAD + f"[evidence]\noriginals = 'all'\nrecipients = ['{AUDITORS[0]}', '{AUDITORS[1]}']\n"

Write: TypeAlias = Callable[[str], Path]
"""Writes a configuration to a file whose neighbours all exist."""


def faults(path: Path, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsFault) as fault:
        load(path, environ or {})
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)
    for line in (*fault.value.faults, str(fault.value), repr(fault.value)):
        assert SECRET not in line
    assert fault.value.__cause__ is None
    return fault.value.faults


def replaced(old: str, new: str) -> str:
    assert old in HEAD + CONNECTION
    return (HEAD + CONNECTION).replace(old, new)


def rules(line: str, action: str = "deny") -> str:
    return f"{HEAD}{CONNECTION}[[connection.rule]]\nname = 'x'\naction = '{action}'\n{line}\n"


def witness(**changes: str) -> str:
    key = str(CosignerKey("witness.test/w1", bytes(32)))
    told = {"url": "https://witness.test/sub", "key": key, **changes}
    return f"{HEAD}[[evidence.witness]]\n" + "".join(f"{name} = '{value}'\n" for name, value in told.items())


def tries(lines: str) -> str:
    return f"{HEAD}{CONNECTION}[[connection.test]]\nsql = 'SELECT 1'\n{lines}\n"
