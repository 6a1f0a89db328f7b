"""What leaves the gateway when somebody must be told, and how a webhook is signed. Pure.

Promises that a message holds names and times alone: whose operation, where, of which kind, under which rule, until
when. Never a statement's text, a parameter, a reason or anything else that could carry a value; and nothing that could
drive a terminal or a chat. Source of the webhooks' form: the Standard Webhooks specification, version 1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.model import Json, Micros, format_time

REQUESTED, ESCALATED, DECIDED = "approval.requested", "approval.escalated", "approval.decided"
BREAK_GLASS = "approval.break_glass"
"""One person approved in the place of all who were missing: everybody is told."""
_TEXTS = ("id", "state", "subject", "owner", "connection", "target", "operation", "rule", "requested", "expires")
_DECIDED = ("approver", "assurance", "decided")
_LISTS = ("relations", "reviewers", "escalated_to")
_ITEMS, _CHARACTERS = 20, 200
_SECRET = "whsec_"  # noqa: S105  the prefix that the specification gives secrets


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell. `id` is the same however often it is sent, so that a receiver can tell a repetition."""

    id: str
    type: str
    at: Micros
    until: Micros
    """After it, nobody needs to hear of it any more."""
    data: Mapping[str, Json]

    def body(self) -> bytes:
        """Return the webhook's body: JSON with type, timestamp and data."""
        told = {"type": self.type, "timestamp": format_time(self.at), "data": dict(self.data)}
        return json.dumps(told, separators=(",", ":")).encode("ascii")

    def title(self) -> str:
        """Return one line for a person."""
        if self.type == BREAK_GLASS:
            return f"BREAK-GLASS on {self.data.get('connection')} by {self.data.get('approver')}"
        words = {REQUESTED: "asks for approval", ESCALATED: "still waits for approval", DECIDED: self.data.get("state")}
        return f"{self.data.get('connection')}: {self.data.get('subject')} {words.get(self.type)}"

    def text(self) -> str:
        """Return a few lines for a person: what, until when, and what to do."""
        data, lines = self.data, [f"{self.data.get('operation')} by rule {self.data.get('rule')}"]
        if data.get("relations"):
            lines.append(f"on {', '.join(map(str, _list(data['relations'])))}")
        if self.type == BREAK_GLASS:
            lines.append(f"asked by {data.get('subject')}; approved by {data.get('approver')} in others' place")
            lines.append(f"look at it: hoop-gateway approvals show {data.get('id')}")
        elif self.type == DECIDED:
            lines.append(f"{data.get('state')} by {data.get('approver') or 'nobody'}")
        else:
            if data.get("escalated_to"):
                lines.append(f"{', '.join(map(str, _list(data['escalated_to'])))} may decide too from now on")
            lines.append(f"expires {data.get('expires')}")
            lines.append(f"decide in hoop-tui, or look first: hoop-gateway approvals show {data.get('id')}")
        return "\n".join(lines)


def message(kind: str, card: Mapping[str, Json], at: Micros, until: Micros) -> Message:
    """Make the message of `kind` about an approval's card (`gateway.approval.card`), taking only what may leave."""
    data: dict[str, Json] = {name: _plain(card.get(name)) for name in _TEXTS}
    if kind in {DECIDED, BREAK_GLASS}:
        data |= {name: _plain(card.get(name)) for name in _DECIDED}
    for name in _LISTS:
        data[name] = [_plain(item) for item in _list(card.get(name))[:_ITEMS]]
    return Message(f"{data['id']}.{kind.partition('.')[2]}", kind, at, until, data)


def headers(told: Message, body: bytes, secret: bytes, now: Micros) -> dict[str, str]:
    """Return the headers that prove where `body` comes from, and when it was sent."""
    seconds = str(now // 1_000_000)
    signed = b".".join((told.id.encode(), seconds.encode(), body))
    signature = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode("ascii")
    return {
        "content-type": "application/json",
        "webhook-id": told.id,
        "webhook-timestamp": seconds,
        "webhook-signature": f"v1,{signature}",
    }


def signing_key(secret: str) -> bytes:
    """Return the key behind `whsec_` and base64. Raises ValueError, without repeating it."""
    if not secret.startswith(_SECRET):
        raise ValueError("a webhook's secret begins with whsec_")
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET), validate=True)
    except ValueError:
        raise ValueError("behind whsec_ stands base64") from None
    if not 24 <= len(key) <= 64:
        raise ValueError("a webhook's secret has 24 to 64 bytes")
    return key


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _plain(value: Json) -> Json:
    """Return a text without what a terminal or a chat would obey, cut to a bearable length."""
    if value is None:
        return None
    return "".join(each if each.isprintable() else "?" for each in str(value))[:_CHARACTERS]
