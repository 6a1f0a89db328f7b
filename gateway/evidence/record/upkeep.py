"""Records of what became of the evidence itself."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.evidence.values import name
from gateway.model import (
    Draft,
    Json,
    SessionInfo,
)


def archive(
    segment: str,
    first: int,
    last: int,
    root: str,
    blake3: str,
    payload: str,
    frontier: str,
    originals: str | None = None,
) -> Draft:
    """Return a journal file turned into a segment: its range, tree root, and the digests of its files.

    `originals` is that of the envelopes beside it, None where nothing was sealed.
    """
    fields: dict[str, Json] = {"segment": segment, "first": first, "last": last, "root": root, "blake3": blake3}
    fields |= {"payload": payload, "frontier": frontier}
    if originals is not None:
        fields["originals"] = originals
    return Draft("archive", fields=fields)


def key(session: SessionInfo, blake3: str, wrapped: bytes | None = None) -> Draft:
    """Return that a session's wrapped key is on disk; `blake3` is of that file, `wrapped` its content."""
    return Draft("key", session, fields={"blake3": blake3}, wrapped=wrapped)


def erasure(records: Sequence[str], basis: str, by: str, files: Sequence[tuple[str, str, str]]) -> Draft:
    """Return an erasure: which records, on which legal basis, by whom, each rewritten file with old and new digest."""
    rewritten: list[Json] = [{"file": file, "old": old, "new": new} for file, old, new in files]
    fields: dict[str, Json] = {"records": list(records), "basis": name(basis), "by": name(by), "files": rewritten}
    return Draft("erasure", fields=fields)


def witness(origin: str, size: int, root: str, cosignature: str) -> Draft:
    """Return a witness's cosignature of a checkpoint."""
    return Draft("witness", fields={"origin": origin, "size": size, "root": root, "cosignature": cosignature})


def gap(from_seq: int, to_seq: int | None, why: str) -> Draft:
    """Return records known to be lost; `to_seq` None: nobody knows how many."""
    return Draft("gap", fields={"from": from_seq, "to": to_seq, "why": name(why)})
