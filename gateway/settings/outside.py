"""`[[evidence.witness]]`, `[[evidence.sink]]`, `[evidence.timestamp]`, `[evidence.retention]`.

Who outside sees how the logs grow, who stamps them, and what may go. Tables of the file, as those of
`gateway.settings.tables`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from gateway.evidence.cosignature import CosignerKey
from gateway.evidence.entry import Malformed
from gateway.evidence.retention import Part, Term
from gateway.settings.values import MINUTE, SECOND, PositiveDuration, Size, Table, text, wrong

_PLAIN = re.compile(r"[!-~]{1,500}")


def _key(value: object) -> CosignerKey:
    try:
        return value if isinstance(value, CosignerKey) else CosignerKey.parse(text(value))
    except Malformed as fault:
        raise ValueError(str(fault)) from None


class WitnessTable(Table):
    """`[[evidence.witness]]`: a witness that signs what it saw."""

    url: str
    key: Annotated[CosignerKey, BeforeValidator(_key)]

    @model_validator(mode="after")
    def _is_a_prefix(self) -> WitnessTable:
        _must_be_a_url(self.url, "write the witness's URL without add-checkpoint, such as https://witness.example/hoop")
        return self


def _must_be_a_url(value: str, words: str) -> None:
    """Accept what is of `http` or `https` and names nothing but a host and a path."""
    try:
        url = urlsplit(value)
        whole = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and _PLAIN.fullmatch(value)
    except ValueError:
        raise wrong("url", words) from None
    if not whole or url.username is not None or url.query or url.fragment:
        raise wrong("url", words)


class TimestampTable(Table):
    """`[evidence.timestamp]`: an authority that stamps checkpoints, as RFC 3161 has it."""

    url: str
    certificate: Path
    every: PositiveDuration = 60 * MINUTE

    @model_validator(mode="after")
    def _is_reached_by_http(self) -> TimestampTable:
        _must_be_a_url(self.url, "write the authority's URL, such as https://tsa.example/tsr")
        return self


class SinkTable(Table):
    """`[[evidence.sink]]`: a place that keeps checkpoints and judges nothing."""

    file: Path | None = None
    directory: Path | None = None
    every: PositiveDuration = 5 * SECOND

    @model_validator(mode="after")
    def _is_one_place(self) -> SinkTable:
        if (self.file is None) == (self.directory is None):
            raise wrong("file", "name either a file that is appended to or a directory")
        return self


class RetentionTable(Table):
    """`[evidence.retention]`: how long archived evidence is kept; what is not named is kept for good."""

    entries_age: PositiveDuration | None = None
    entries_size: Size | None = None
    payloads_age: PositiveDuration | None = None
    payloads_size: Size | None = None
    originals_age: PositiveDuration | None = None
    originals_size: Size | None = None

    def terms(self) -> tuple[Term, ...]:
        """Return what is limited."""
        parts: tuple[tuple[Part, int | None, int | None], ...] = (
            ("entries", self.entries_age, self.entries_size),
            ("payloads", self.payloads_age, self.payloads_size),
            ("originals", self.originals_age, self.originals_size),
        )
        return tuple(Term(part, age, size) for part, age, size in parts if age is not None or size is not None)
