"""A session's sealer beside its records: what is to be sealed becomes a draft that seals itself in its place.

Promises that the record of the session's key stands before the first record with an envelope, and that nothing is
sealed, and so kept, where no auditors are configured. One for each session; the key is made when it is first needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.evidence import record
from gateway.evidence.originals_content import Column, encode_rows
from gateway.evidence.sealing import Sealer
from gateway.model import Draft, Entropy, SessionInfo
from gateway.pgwire.notes import Originals


@dataclass(frozen=True, slots=True)
class SealingTerms:
    """`[evidence]`: to whom originals are sealed, if to anybody; `literals`: those that meet marks are withheld."""

    recipients: tuple[str, ...] = ()
    literals: bool = True


class SessionSealing:
    """Seals for one session."""

    def __init__(self, terms: SealingTerms, entropy: Entropy) -> None:
        self._terms, self._entropy = terms, entropy
        self._sealer: Sealer | None = None

    @property
    def keeps(self) -> bool:
        """Whether what is to be sealed is kept at all."""
        return bool(self._terms.recipients)

    def sealed(self, session: SessionInfo, draft: Draft, content: bytes | None) -> Iterator[Draft]:
        """Yield `draft` with an envelope of `content`, before it the record of the session's key where it is new.

        Without content, or without auditors, it is `draft` as it is.
        """
        if content is None or not self.keeps:
            yield draft
            return
        if self._sealer is None:
            self._sealer = Sealer(session.id, self._terms.recipients, self._entropy)
            yield record.key(session, self._sealer.digest, self._sealer.wrapped)
        yield draft._replace(seal=self._sealer.seal(content))

    def rows(self, session: SessionInfo, note: Originals) -> Iterator[Draft]:
        """Yield the records of a stretch of masked rows."""
        values = sum(value is not None for column in note.columns for value in column.values)
        draft = record.originals(session, note.n, note.of, note.first, note.last, values)
        columns = [
            Column(one.column_name, one.source_columns, one.type_oid, one.format, one.values) for one in note.columns
        ]
        head = {"of": note.of, "index": note.index, "from": note.first, "to": note.last}
        return self.sealed(session, draft, encode_rows(head, columns))
