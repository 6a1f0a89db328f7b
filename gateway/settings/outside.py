"""`[[evidence.witness]]`, `[[evidence.sink]]`: who outside this host sees how the logs grow.

Tables of the file, as those of `gateway.settings.tables`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from gateway.evidence.cosignature import CosignerKey
from gateway.evidence.entry import Malformed
from gateway.settings.values import SECOND, PositiveDuration, Table, text, wrong

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
        words = "write the witness's URL without add-checkpoint, such as https://witness.example/hoop"
        try:
            url = urlsplit(self.url)
            whole = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and _PLAIN.fullmatch(self.url)
        except ValueError:
            raise wrong("url", words) from None
        if not whole or url.username is not None or url.query or url.fragment:
            raise wrong("url", words)
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
