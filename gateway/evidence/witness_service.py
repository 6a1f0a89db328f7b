"""The witness as a service: its directory, and `add-checkpoint` over HTTP (Trio).

Promises that one process alone uses the directory, that what was signed is on disk before the answer goes out, and
that a directory whose state is gone is not taken for a new one: a witness that forgot would sign a fork. Serves one
call; every answer is bounded and tells nothing but the log's size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import EvidenceFault
from gateway.evidence.checkpoints import load_key
from gateway.evidence.cosignature import Cosigner, CosignerKey, split_notes
from gateway.evidence.entry import Malformed
from gateway.evidence.note import Verifier
from gateway.evidence.storage import Storage
from gateway.evidence.witness import Witness
from gateway.identity.http_server import Request, Response
from gateway.model import Clock, Entropy

KEY, PUBLIC, STATE, REFUSED = "witness.pem", "witness.pub", "notes", "refused"
_STATE_LIMIT = 16 << 20
_REFUSED_LIMIT = 1 << 20


def make_witness(directory: Path, name: str, storage: Storage, entropy: Entropy) -> CosignerKey:
    """Make a witness's directory: key, verifier key, empty state. Raises `EvidenceFault` where there is one."""
    storage.make_directory(directory)
    names = set(storage.names(directory))
    if KEY in names or (STATE in names and storage.size(directory / STATE)):  # the key comes last: without it, none
        raise EvidenceFault(
            f"{directory} holds a witness already; one that is made anew would sign what this one refused"
        )
    key = Ed25519PrivateKey.from_private_bytes(entropy.bytes(32))
    public = Cosigner(name, key).public
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    storage.replace(directory / PUBLIC, f"{public}\n".encode(), 0o644)
    storage.replace(directory / STATE, b"", 0o644)
    storage.replace(directory / KEY, key.private_bytes(*form))
    return public


def read_keys(paths: Iterable[Path]) -> list[Verifier]:
    """Return the logs' verifier keys, one a line, in the files. Raises `EvidenceFault`."""
    found = []
    for path in paths:
        try:
            lines = path.read_text("utf-8").split("\n")
            found += [Verifier.parse(line) for line in lines if line.strip()]
        except OSError as fault:
            raise EvidenceFault(f"{path} cannot be read: {fault.strerror or fault}") from None
        except (Malformed, UnicodeDecodeError) as fault:
            raise EvidenceFault(f"{path}: {fault}; give a log's log.pub") from None
    return found


class WitnessService:
    """One witness at work on its directory; `open` makes one."""

    def __init__(
        self, directory: Path, witness: Witness, notes: dict[str, bytes], storage: Storage, clock: Clock
    ) -> None:
        self._directory, self._witness, self._notes, self._storage, self._clock = (
            directory,
            witness,
            notes,
            storage,
            clock,
        )

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, directory: Path, logs: Iterable[Verifier], storage: Storage, clock: Clock
    ) -> Iterator[WitnessService]:
        """Hold the directory for this process. Raises `EvidenceFault` where it is not a whole witness, or in use."""
        try:
            names = set(storage.names(directory))
        except OSError as fault:
            raise EvidenceFault(f"{directory} cannot be read: {fault.strerror or fault}") from None
        missing = {KEY, PUBLIC, STATE} - names
        if missing:
            raise EvidenceFault(
                f"{directory / min(missing)} is missing: restore it; a witness without its state must not go on"
                if KEY in names
                else f"{directory} holds no witness; make one with `hoop-gateway witness init`"
            )
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(storage.lock(directory / "lock"))
            except EvidenceFault:
                raise EvidenceFault(f"{directory} is in use by another witness; stop it first") from None
            try:
                public = CosignerKey.parse(storage.read(directory / PUBLIC, 0, 4096).decode(errors="replace"))
                cosigner = Cosigner(public.name, load_key(storage, directory / KEY))
                if cosigner.public != public:
                    raise Malformed("not the key of witness.pem")  # noqa: TRY301  one place says where
            except Malformed as fault:
                raise EvidenceFault(f"{directory / PUBLIC}: {fault}; restore it") from None
            notes, strange = split_notes(storage.read(directory / STATE, 0, _STATE_LIMIT))
            if strange:
                raise EvidenceFault(f"{directory / STATE} holds {strange} bytes that are no note; restore it")
            kept = {note.split(b"\n", 1)[0].decode(): note for note in notes}
            yield cls(directory, Witness(cosigner, logs, notes), kept, storage, clock)

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        if request.path.rpartition("/")[2] != "add-checkpoint":
            return Response(404, b"", kind="text/plain")
        if request.method != "POST":
            return Response(405, b"", (("allow", "POST"),), kind="text/plain")
        verdict = self._witness.add_checkpoint(request.body, self._clock.now() // 1_000_000)
        if verdict.proves is not None:
            self._keep_proof(verdict.proves)
        if verdict.keep is not None:
            origin, note = verdict.keep
            notes = {**self._notes, origin: note}
            self._storage.replace(self._directory / STATE, b"".join(notes[one] for one in sorted(notes)), 0o644)
            self._notes = notes
            self._witness.kept(note)
        return Response(verdict.status, verdict.body, kind=verdict.kind)

    def _keep_proof(self, note: bytes) -> None:
        """Keep a note that contradicts what was signed, each once, as long as there is room: it convicts its signer."""
        path = self._directory / REFUSED
        known = self._storage.read(path, 0, _REFUSED_LIMIT) if REFUSED in self._storage.names(self._directory) else b""
        if note not in known and len(known) + len(note) <= _REFUSED_LIMIT:
            self._storage.replace(path, known + note, 0o644)
