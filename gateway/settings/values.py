"""What single values of the configuration look like, and how a table says that one of them is wrong.

Types for pydantic over the small languages of `gateway.settings.units`: durations become microseconds, sizes bytes,
names what PostgreSQL folds them to. Words never quote a value.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from gateway import model
from gateway.settings.units import (
    Endpoint,
    check_people,
    check_reference,
    parse_duration,
    parse_endpoint,
    parse_name,
    parse_size,
    parse_target,
)


def text(value: object) -> str:
    """Accept text alone."""
    if not isinstance(value, str):
        raise ValueError("write it as text, in quotes")  # noqa: TRY004  pydantic turns ValueError alone into its error
    return value


def _duration(value: object) -> int:
    return parse_duration(text(value))


def _size(value: object) -> int:
    return parse_size(str(value) if type(value) is int else text(value))


def _endpoint(value: object) -> Endpoint:
    return value if isinstance(value, Endpoint) else parse_endpoint(text(value))


def positive(value: int) -> int:
    """Accept what is more than nothing."""
    if value <= 0:
        raise ValueError("must be more than nothing")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value, re.ASCII):
        raise ValueError("letters, digits, dot, dash and underscore, at most 63 of them")
    return value


def not_built(what: str) -> AfterValidator:
    """Return what refuses any value but the default's emptiness, by name."""

    def refuse(value: object) -> object:
        if value:
            raise ValueError(f"{what} not built yet; leave this key out")
        return value

    return AfterValidator(refuse)


def _agent(value: str) -> str:
    return check_people(value, anyone=True)


def _reviewer(value: str) -> str:
    return check_people(value, anyone=False)


def https(value: str) -> str:
    """Accept an address that is reached by TLS, or on this machine."""
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if host is None or url.scheme not in {"https", "http"} or url.username is not None or url.fragment:
        raise ValueError("write a URL such as https://ops.example/hooks, without a user or password")
    if url.scheme == "http" and host not in {"127.0.0.1", "::1", "localhost"}:
        raise ValueError("https only, except on this machine")
    return value


def age_key(value: str) -> str:
    """Accept an age public key; a secret one is refused without being repeated."""
    if not re.fullmatch(r"age1[02-9ac-hj-np-z]{58}", value, re.ASCII):
        raise ValueError("each is an age public key, age1…; its secret key does not belong here")
    return value


def schema(value: str) -> str:
    """Accept the name of a schema, as the catalog spells it."""
    if not value or "\0" in value or len(value.encode()) > 63 or value == "$user":
        raise ValueError("each is the name of one schema, as the catalog spells it")
    return value


def function(value: str) -> str:
    """Accept `schema.function`; return it as PostgreSQL folds it."""
    names = parse_name(value, 2, "schema.function")
    if any("." in name for name in names):
        raise ValueError("functions with a dot in their name cannot be listed")
    return ".".join(names)


def setting(value: str) -> str:
    """Accept the name of a PostgreSQL setting; return it in lower case."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?", value, re.ASCII):
        raise ValueError("each is the name of one PostgreSQL setting")
    return value.lower()


KEY = "key"
"""Type of the errors that name a key themselves."""
SECOND = 1_000_000
MINUTE = 60 * SECOND

Duration: TypeAlias = Annotated[int, BeforeValidator(_duration)]
PositiveDuration: TypeAlias = Annotated[int, BeforeValidator(_duration), AfterValidator(positive)]
Size: TypeAlias = Annotated[int, BeforeValidator(_size), AfterValidator(positive)]
Name: TypeAlias = Annotated[str, AfterValidator(_name)]
Listen: TypeAlias = Annotated[Endpoint, BeforeValidator(_endpoint)]
Target: TypeAlias = Annotated[model.TargetAddress, BeforeValidator(lambda value: parse_target(text(value)))]
Reference: TypeAlias = Annotated[str, AfterValidator(check_reference)]
Agent: TypeAlias = Annotated[str, AfterValidator(_agent)]
Reviewer: TypeAlias = Annotated[str, AfterValidator(_reviewer)]


def wrong(key: str, words: str) -> PydanticCustomError:
    """Return what a table's own check raises: `load` puts `key` behind the table's path."""
    return PydanticCustomError(KEY, "{key}: {words}", {"key": key, "words": words})


class Table(BaseModel):
    """A table of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)
