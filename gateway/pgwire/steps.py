"""What the client side's generators wait for: one name for each reason, answered by `Session`."""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum, auto
from typing import TypeAlias


class Wait(Enum):
    """What the client side waits for."""

    __hash__ = object.__hash__

    MESSAGE = auto()
    """A whole message; it is sent in."""
    QUIET = auto()
    """Everything that was forwarded is answered, and no cancel is on its way."""
    TURN = auto()
    """As QUIET, before something new begins: never, once the session is about to be cut."""
    COPY = auto()
    """The target wants COPY data, or the statement ended."""
    COPY_MESSAGE = auto()
    """A whole message while COPY goes on; None is sent in when it ended."""
    ANSWER = auto()
    """`Session.resume` for the token last given out; the answer is sent in."""


Steps: TypeAlias = Generator[Wait, object, None]
