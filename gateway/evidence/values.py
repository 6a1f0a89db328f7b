"""How values from the wire and from people stand in a payload.

Promises that every value fits the canonical form, that exact bytes can be had back, and that nothing an agent sends
makes a record impossible to write. Pure. Never decides what is sensitive: the caller passes what may be kept.
"""

from __future__ import annotations

import base64
import re
import struct
import uuid

from gateway.model import Json, Parameter

CLIP = 1000
"""Characters kept of a name or reason inside an entry."""
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_INTEGERS = {20: ">q", 21: ">h", 23: ">i", 26: ">I"}
_FLOATS = {700: ">f", 701: ">d"}


def wire(value: bytes | None) -> Json:
    """Return `{"t": text}` for UTF-8 without NUL, else `{"b": base64}`; None for NULL."""
    if value is None:
        return None
    if b"\0" not in value:
        try:
            return {"t": value.decode()}
        except UnicodeDecodeError:
            pass  # not text: kept as base64 below
    return {"b": base64.b64encode(value).decode()}


def unwire(value: Json) -> bytes | None:
    """Return the exact bytes that `wire` was given."""
    if isinstance(value, dict):
        if isinstance(text := value.get("t"), str):
            return text.encode()
        if isinstance(encoded := value.get("b"), str):
            return base64.b64decode(encoded)
    return None


def parameter(bound: Parameter) -> Json:
    """Return a bound value; in binary format with its reading as text (`s`) where the type is a plain one."""
    shown = wire(bound.value)
    if isinstance(shown, dict) and bound.format == 1 and bound.value is not None:
        reading = _reading(bound.type_oid, bound.value)
        if reading is not None:
            shown = {**shown, "s": reading}
    return shown


def _reading(type_oid: int, value: bytes) -> str | None:
    if type_oid == 16 and value in {b"\0", b"\1"}:
        return "true" if value == b"\1" else "false"
    if type_oid == 2950 and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    form = _INTEGERS.get(type_oid) or _FLOATS.get(type_oid)
    if form is None or len(value) != struct.calcsize(form):
        return None
    return str(struct.unpack(form, value)[0])


def text(value: str) -> str:
    """Return `value` without what the format refuses: lone surrogates become U+FFFD, NUL becomes U+2400."""
    if _UNFIT.search(value) is None:
        return value
    return _UNFIT.sub(lambda found: "\u2400" if found[0] == "\0" else "\ufffd", value)


def name(value: str) -> str:
    """Return `value` as it may stand in an entry: fit, and cut to `CLIP` characters."""
    value = text(value)
    return value if len(value) <= CLIP else value[: CLIP - 1] + "…"


def cut(value: str, limit: int) -> tuple[str, bool]:
    """Return `value` fit for a payload and cut to `limit` bytes of UTF-8 at a character, and whether it was cut."""
    fit = text(value)
    encoded = fit.encode()
    if len(encoded) <= limit:
        return fit, False
    return encoded[:limit].decode(errors="ignore"), True
