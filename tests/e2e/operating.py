"""An operator's few words to a gateway's control socket, from a test: quicker than a command for each."""

from __future__ import annotations

import json
import socket
from typing import Any

from running import RunningGateway


def ask(gateway: RunningGateway, method: str, **params: object) -> Any:
    """Call one method of the control socket; return its result. An error fails the test with its words."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(20)
        connected.connect(str(gateway.home / "state" / "control.sock"))
        with connected.makefile("rwb") as lines:
            _say(lines, {"type": "hello", "version": 1, "client": "test", "resume": None})
            assert json.loads(lines.readline())["type"] == "hello"
            _say(lines, {"type": "request", "id": 1, "method": method, "params": params})
            answer = json.loads(lines.readline())
    assert "result" in answer, answer
    return answer["result"]


def sessions(gateway: RunningGateway, application: str) -> list[dict[str, Any]]:
    """The live sessions of one application."""
    return [each for each in _items(ask(gateway, "sessions.list")) if each["application"] == application]


def pending(gateway: RunningGateway, approval: str) -> dict[str, Any] | None:
    """One approval, while it waits for a person."""
    found = _items(ask(gateway, "approvals.list", decided=False))
    return next((each for each in found if each["id"] == approval), None)


def approve(gateway: RunningGateway, approval: str, reason: str = "looks right") -> None:
    found = pending(gateway, approval)
    assert found is not None
    ask(gateway, "approvals.approve", id=approval, hash=found["hash"], reason=reason)


def deny(gateway: RunningGateway, approval: str, reason: str = "not on a Friday") -> None:
    ask(gateway, "approvals.deny", id=approval, reason=reason)


def _items(answer: Any) -> list[dict[str, Any]]:
    return answer["items"] if isinstance(answer, dict) else answer  # type: ignore[no-any-return]


def _say(lines: Any, words: dict[str, object]) -> None:
    lines.write(json.dumps(words).encode() + b"\n")
    lines.flush()
