"""The gateway as a console knows it once it was greeted."""

from __future__ import annotations

from gateway.model import Micros
from hoop_tui.clock import GatewayTime
from hoop_tui.known import Gateway

GATEWAY = Gateway(
    "gw-1", "0.1.0", "dana", "dana-sub", frozenset({"watch", "decide"}), frozenset({"oncall"}), "uid",
    GatewayTime(Micros(0), 0),
)  # fmt: skip
