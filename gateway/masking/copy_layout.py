"""How the data of a COPY is laid out: its format and options, as the statement gives them.

Values only, and which character sets can be walked byte by byte: in those that are left out, the second byte of a
character may look like a delimiter or a backslash. Pure.
Source: PostgreSQL 18, COPY; "Character Set Support".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class CopyFormat(StrEnum):
    """The formats of COPY."""

    TEXT = "text"
    CSV = "csv"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Layout:
    """Format and options; single bytes where PostgreSQL wants one byte."""

    format: CopyFormat = CopyFormat.TEXT
    delimiter: bytes = b"\t"
    null: bytes = b"\\N"
    quote: bytes = b'"'
    escape: bytes = b'"'
    header: bool = False
    force_quote: frozenset[str] | None = frozenset()
    """Columns whose values are always quoted (CSV); None: all."""
    codec: str = "utf-8"
    """Python's name of the character set."""
    default: bytes | None = None
    """COPY FROM: what stands for a column's default."""


_CODECS: Mapping[str, str] = MappingProxyType(
    {
        "utf8": "utf-8", "unicode": "utf-8", "sqlascii": "utf-8",
        "euccn": "gb2312", "eucjp": "euc_jp", "eucjis2004": "euc_jis_2004", "euckr": "euc_kr",
        "koi8r": "koi8_r", "koi8": "koi8_r", "koi8u": "koi8_u",
        "latin1": "latin_1", "latin2": "iso8859_2", "latin3": "iso8859_3", "latin4": "iso8859_4",
        "latin5": "iso8859_9", "latin6": "iso8859_10", "latin7": "iso8859_13", "latin8": "iso8859_14",
        "latin9": "iso8859_15", "latin10": "iso8859_16",
        "iso88591": "latin_1", "iso88592": "iso8859_2", "iso88593": "iso8859_3", "iso88594": "iso8859_4",
        "iso88595": "iso8859_5", "iso88596": "iso8859_6", "iso88597": "iso8859_7", "iso88598": "iso8859_8",
        "iso88599": "iso8859_9", "iso885910": "iso8859_10", "iso885913": "iso8859_13", "iso885914": "iso8859_14",
        "iso885915": "iso8859_15", "iso885916": "iso8859_16",
        "win": "cp1251", "win866": "cp866", "alt": "cp866", "win874": "cp874",
        **{f"win{number}": f"cp{number}" for number in (*range(1250, 1259),)},
        **{f"windows{number}": f"cp{number}" for number in (866, 874, *range(1250, 1259))},
        "tcvn": "cp1258", "tcvn5712": "cp1258", "abc": "cp1258", "vscii": "cp1258",
    }
)  # fmt: skip
"""PostgreSQL's names of character sets, folded, in which an ASCII byte is always that character -> Python's name."""


def codec(encoding: str) -> str | None:
    """Return Python's name of a character set that can be walked byte by byte; None for every other."""
    return _CODECS.get("".join(character for character in encoding.lower() if character.isalnum()))
