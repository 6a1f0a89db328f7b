"""Records of what became of the evidence itself."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.evidence.values import name
from gateway.model import (
    Draft,
    Json,
    Micros,
    SessionInfo,
    format_time,
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


def witness(who: str, origin: str, size: int, root: str, at: Micros, cosignature: str) -> Draft:
    """Return that witness `who` signed a checkpoint of log `origin`, at its own time; `cosignature` is in base64."""
    fields: dict[str, Json] = {"witness": name(who), "origin": origin, "size": size, "root": root}
    return Draft("witness", fields={**fields, "at": format_time(at), "cosignature": cosignature})


def stamp(authority: str, origin: str, size: int, root: str, at: Micros, blake3: str) -> Draft:
    """Return that a time-stamping authority stamped a checkpoint of log `origin` at its own time.

    `blake3` is of the stamp's file beside the checkpoint; it stands in the place of a cosignature.
    """
    told = witness(authority, origin, size, root, at, "")
    return Draft("witness", fields={**told.fields, "stamp": blake3})


def gap(from_seq: int, to_seq: int | None, why: str) -> Draft:
    """Return records known to be lost; `to_seq` None: nobody knows how many."""
    return Draft("gap", fields={"from": from_seq, "to": to_seq, "why": name(why)})
