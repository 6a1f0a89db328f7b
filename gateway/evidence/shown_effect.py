"""What an operation did before anybody approved it, as people, receipts and the evidence are told. Pure.

Promises one canonical form, so that what a person was shown, what their receipt names and what the evidence keeps can
be compared: same effect, same bytes, same digest. It holds no value of a masked column: none was ever read.
"""

from __future__ import annotations

import hashlib

from gateway.evidence.entry import canonical
from gateway.model import Json, SampledRow, ShownEffect


def effect_content(effect: ShownEffect) -> dict[str, Json]:
    """Return the effect as an object for programs."""
    sample = effect.sample
    shown: dict[str, Json] | None = None
    if sample is not None:
        shown = {
            "relation": _plain(sample.relation),
            "columns": [_plain(name) for name in sample.columns],
            "masked": [name for name, masked in zip(sample.columns, sample.masked, strict=True) if masked],
            "rows": [_row(row) for row in sample.rows],
        }
    return {
        "rows": effect.rows,
        "relations": None
        if effect.relations is None
        else [
            {
                "relation": _plain(each.relation),
                "inserted": each.inserted,
                "updated": each.updated,
                "deleted": each.deleted,
            }
            for each in effect.relations
        ],
        "more": effect.more,
        "sample": shown,
        "no_sample": effect.no_sample,
        "lasting": [_plain(words) for words in effect.lasting],
    }


def effect_digest(effect: ShownEffect) -> str:
    """Return the SHA-256 of the effect's canonical form, lower-case hex: how receipts and releases name it."""
    return hashlib.sha256(canonical(effect_content(effect))).hexdigest()


def _row(row: SampledRow) -> dict[str, Json]:
    return {"before": _values(row.before), "after": _values(row.after)}


def _values(values: tuple[str | None, ...] | None) -> list[Json] | None:
    return None if values is None else [None if value is None else _plain(value) for value in values]


def _plain(text: str) -> str:
    """Return `text` with lone surrogates, which no UTF-8 can carry, replaced."""
    return text.encode("utf-8", "replace").decode()
