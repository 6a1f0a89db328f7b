"""Having checkpoints stamped by a time-stamping authority (RFC 3161), as `gateway.witnessing` has it done (Trio).

Promises that a stamp is kept beside its checkpoint, as `<size>.tsr`, only after it was found to hold, and that a record
of the control log names its digest. An authority keeps nothing: a stamp says that a log was there at a time, not what
became of it, so that what is stamped does not count as seen outside. Stops no traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult

import trio
from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import ConfigurationFault
from gateway.evidence import record, stamp
from gateway.evidence.entry import Malformed
from gateway.evidence.note import Checkpoint, Signer, parse_note
from gateway.evidence.storage import Storage
from gateway.evidence.tree import EMPTY
from gateway.evidence.witness_client import WitnessFault, post
from gateway.keepers import DEADLINE, Errand, Records
from gateway.model import Micros


@dataclass(frozen=True, slots=True)
class StampKeeper:
    """A time-stamping authority behind HTTP (RFC 3161, section 3.4)."""

    url: SplitResult
    certificates: Sequence[x509.Certificate]
    control: Records
    storage: Storage
    every: float
    sees: bool = False

    @property
    def name(self) -> str:
        """Return what people know it by: where it is, marked as what it is."""
        return f"{stamp.PREFIX}{self.url.netloc}{self.url.path.rstrip('/')}"

    async def bring(self, errand: Errand) -> None:
        """See `Keeper`."""
        try:
            at, found = await stamp_of(self.url, self.certificates, errand.note)
            checkpoint, _ = parse_note(errand.note)
        except Malformed as fault:
            raise WitnessFault(str(fault)) from None
        path = errand.log.journal.directory / "checkpoints" / f"{checkpoint.size}.tsr"
        await trio.to_thread.run_sync(self.storage.replace, path, found)
        told = record.stamp(
            self.name, checkpoint.origin, checkpoint.size, checkpoint.root.hex(), at, blake3(found).hexdigest()
        )
        await self.control.record(told)


def certificates_in(path: Path) -> tuple[x509.Certificate, ...]:
    """Return the authority's certificates in the file that is configured. Raises `ConfigurationFault`."""
    stamp.must_have_client()
    try:
        return stamp.read_certificates(path.read_bytes())
    except (Malformed, OSError) as fault:
        raise ConfigurationFault(f"evidence.timestamp.certificate: {fault}") from None


async def why_no_stamp(url: SplitResult, certificate: Path) -> str | None:
    """Have a checkpoint stamped that nobody keeps; return what is wrong, with the configuration's key first."""
    name = "hoop-gateway/check"
    note = Signer(name, Ed25519PrivateKey.generate()).sign(Checkpoint(name, 0, EMPTY))
    try:
        await stamp_of(url, certificates_in(certificate), note)
    except ConfigurationFault as fault:
        return str(fault)
    except (WitnessFault, Malformed) as fault:
        return f"evidence.timestamp.url: {fault}"
    except trio.TooSlowError:
        return f"evidence.timestamp.url: no answer within {DEADLINE:g} s"
    return None


async def stamp_of(url: SplitResult, certificates: Sequence[x509.Certificate], note: bytes) -> tuple[Micros, bytes]:
    """Ask the authority at `url` for a stamp of `note`; return its time and it, once it holds.

    Raises `WitnessFault` and `trio.TooSlowError` where it cannot be had, `Malformed` where it is not worth anything.
    """
    asked = stamp.request(note)
    with trio.fail_after(DEADLINE):
        answer = await post(url, url.path or "/", asked.body, stamp.REQUEST, stamp.LIMIT)
    if answer.status != 200:
        raise WitnessFault(f"it answered {answer.status}")
    return await trio.to_thread.run_sync(stamp.check, answer.body, note, certificates, asked.nonce), answer.body
