"""The small languages inside configuration values: durations, sizes, addresses, SQL names, targets, people.

Each function takes the text as written and returns a plain value, or raises ValueError with words that tell how to
write it. The words never quote the text: a password pasted into the wrong key must not reach a terminal or a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.model import WEEKDAYS, Hours, Micros, RelationPattern, TargetAddress

_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)", re.ASCII)
_DURATION_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_SIZE = re.compile(r"(\d{1,15}) ?(B|kB|KiB|MB|MiB|GB|GiB)?", re.ASCII)
_SIZE_UNITS = {"B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}
_IDENTIFIER = re.compile(r'"(?:[^"\x00]|"")+"|[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*')
_IDENTIFIER_BYTES = 63  # NAMEDATALEN - 1: PostgreSQL would cut a longer name, and so name another object
_SPAN = re.compile(r"(\d{2}):([0-5]\d)-(\d{2}):([0-5]\d)", re.ASCII)
_CLOCK = re.compile(r"(\d{2}):(\d{2})", re.ASCII)
_DAY = 24 * 60
_FIRST_MONDAY = 4 * _DAY * 60_000_000  # 5 January 1970
_SHAPES = "env:NAME, file:PATH, vault:NAME or hashicorp:PATH#FIELD"
_REFERENCES = {
    "env": re.compile(r".+", re.DOTALL),
    "file": re.compile(r".+", re.DOTALL),
    "vault": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII),
    "hashicorp": re.compile(r"/?[^#?\s/]+(/[^#?\s/]+)+#[^#\s]+"),
}
_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen: a host name or address, and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_duration(text: str) -> int:
    """Return the microseconds of `250ms`, `30s`, `15m`, `2h` or `7d`."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError("write a whole number and a unit: 250ms, 30s, 15m, 2h, 7d")
    return int(found[1]) * _DURATION_UNITS[found[2]]


def parse_size(text: str) -> int:
    """Return the bytes of `64KiB`, `10kB`, `1MiB` or a plain number."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError("write a whole number and a unit: 512B, 10kB, 64KiB, 1MiB, 2GiB")
    return int(found[1]) * _SIZE_UNITS[found[2] or "B"]


def parse_hours(text: str) -> Hours:
    """Return the hours of `09:00-18:00`, `mon-fri 22:00-06:00` or `sat,sun 00:00-24:00`; days wrap, as hours do."""
    words = text.lower().split()
    found = _SPAN.fullmatch(words[-1]) if words else None
    if found is None or len(words) > 2:
        raise ValueError("write 09:00-18:00, or with days before it: mon-fri 09:00-18:00, sat,sun 00:00-24:00 (UTC)")
    start, end = (int(hour) * 60 + int(minute) for hour, minute in (found.group(1, 2), found.group(3, 4)))
    if start >= _DAY or end > _DAY or start == end:
        raise ValueError("times run from 00:00 to 24:00, and the end is not the beginning: all day is 00:00-24:00")
    return Hours(frozenset(range(7)) if len(words) == 1 else _days(words[0]), start, end)


def parse_moment(text: str) -> Micros:
    """Return a moment for trying rules: `mon 22:15`, `22:15` (on a Monday), or a whole time, `2026-01-05T22:15Z`."""
    days, _, clock = text.strip().lower().rpartition(" ")
    found = _CLOCK.fullmatch(clock)
    if found is not None and days in {"", *WEEKDAYS} and int(found[1]) < 24 and int(found[2]) < 60:
        minutes = WEEKDAYS.index(days or "mon") * _DAY + int(found[1]) * 60 + int(found[2])
        return Micros(_FIRST_MONDAY + minutes * 60_000_000)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("write mon 22:15, 22:15 (on a Monday) or 2026-01-05T22:15Z (UTC)") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return Micros(int(moment.timestamp()) * 1_000_000)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in WEEKDAYS or (last if dash else first) not in WEEKDAYS:
            raise ValueError(f"days are {', '.join(WEEKDAYS)}, joined by - and commas: mon-fri, sat,sun")
        start, end = WEEKDAYS.index(first), WEEKDAYS.index(last if dash else first)
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    return frozenset(found)


def parse_endpoint(text: str) -> Endpoint:
    """Return the address of `host:port` or `[v6]:port`."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError("write host:port, an IPv6 address in brackets: 127.0.0.1:6432, [::1]:6432")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError("the port after the last colon is a number up to 65535")
    return Endpoint(host, int(port))


def parse_name(text: str, parts: int, shape: str) -> tuple[str, ...]:
    """Read `parts` SQL identifiers joined by dots, folded as PostgreSQL does (ASCII letters, unless quoted)."""
    names: list[str] = []
    at = 0
    while True:
        found = _IDENTIFIER.match(text, at)
        if found is None:
            break
        word = found[0]
        names.append(word[1:-1].replace('""', '"') if word[0] == '"' else word.translate(_FOLD))
        at = found.end()
        if text[at : at + 1] != ".":
            break
        at += 1
    if at != len(text) or len(names) != parts or text.endswith("."):
        raise ValueError(f'write SQL names as {shape}, quoted where they need it: crm."Contact List"')
    if any(len(name.encode()) > _IDENTIFIER_BYTES for name in names):
        raise ValueError(f"a name is longer than PostgreSQL's {_IDENTIFIER_BYTES} bytes")
    return tuple(names)


def parse_relation(text: str) -> RelationPattern:
    """Return what `schema.relation`, or `schema.*` for all of a schema, names."""
    if text.endswith(".*"):
        return RelationPattern(parse_name(text.removesuffix(".*"), 1, "schema.relation or schema.*")[0], None)
    schema, name = parse_name(text, 2, "schema.relation or schema.*")
    return RelationPattern(schema, name)


def parse_target(text: str) -> TargetAddress:
    """Return the address in `postgresql://host:port/database?sslmode=…`; a user or password in it is refused."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("write postgresql://host:port/database?sslmode=verify-full") from None
    if url.scheme not in {"postgresql", "postgres"} or url.fragment:
        raise ValueError("write postgresql://host:port/database?sslmode=verify-full")
    if url.password is not None or url.username is not None:
        raise ValueError("no user or password here: they go into `username` and, as a reference, `password`")
    host, options = unquote(url.hostname or ""), {}
    for key, value in parse_qsl(url.query, keep_blank_values=True):
        if key not in {"sslmode", "sslrootcert", "host", "port"} or key in options:
            raise ValueError("after the question mark only sslmode, sslrootcert, host and port, each once")
        options[key] = value
    if "port" in options:
        if port is not None or not options["port"].isascii() or not options["port"].isdigit():
            raise ValueError("give the port once, as a number")
        port = int(options["port"])
    if "host" in options:
        if host:
            raise ValueError("give the host once")
        host = options["host"]
    database = unquote(url.path.removeprefix("/"))
    if not host or not database:
        raise ValueError("both a host and a database are needed: postgresql://host:port/database")
    if options.get("sslmode", "prefer") not in _SSLMODES:
        raise ValueError(f"sslmode is one of {', '.join(_SSLMODES)}")
    if port is not None and not 0 < port <= 65_535:
        raise ValueError("a port is a number from 1 to 65535")
    return TargetAddress(
        host=host,
        port=port or 5432,
        database=database,
        sslmode=options.get("sslmode", "prefer"),
        sslrootcert=options.get("sslrootcert"),
    )


def check_people(text: str, *, anyone: bool) -> str:
    """Accept `group:NAME` and `sub:SUBJECT`, and `any` where `anyone`; returned as it must be compared."""
    kind, _, name = text.partition(":")
    if text == "any" and anyone:
        return text
    if kind == "group" and name.strip("/"):
        return f"group:{name.removeprefix('/')}"
    if kind == "sub" and name:
        return text
    raise ValueError('write "group:NAME"' + (', "sub:SUBJECT" or "any"' if anyone else ' or "sub:SUBJECT"'))


def check_reference(text: str) -> str:
    """Accept a reference to a secret: `env:NAME`, `file:PATH`, `vault:NAME`, `hashicorp:PATH#FIELD`; never plain text.

    Raises ValueError.
    """
    kind, colon, name = text.partition(":")
    if not colon or kind not in _REFERENCES:
        raise ValueError(f"a secret does not stand here in plain text: write a reference, {_SHAPES}")
    if not _REFERENCES[kind].fullmatch(name):
        raise ValueError(f"{kind}: does not name a secret; write {_SHAPES}")
    return text
