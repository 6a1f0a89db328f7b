"""A log that grows in memory, and a witness that knows it, for the tests of witnesses."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.evidence.cosignature import Cosigner
from gateway.evidence.growth import proof
from gateway.evidence.note import Checkpoint, Signer
from gateway.evidence.tree import Tree, TreeState, leaf
from gateway.evidence.witness import Submission

NAME = "witness.test/w1"
LOG = "gw-1/w1"


class GrowingLog:
    """A log of numbered entries under a key of its own."""

    def __init__(self, words: str = "entry", key: Ed25519PrivateKey | None = None, name: str = LOG) -> None:
        self.key = key or Ed25519PrivateKey.generate()
        self.signer = Signer(name, self.key)
        self.words = words

    def entries(self, size: int) -> list[bytes]:
        return [f"{self.words} {number}".encode() for number in range(size)]

    def state(self, size: int) -> TreeState:
        tree = Tree()
        for entry in self.entries(size):
            tree.append(entry)
        return tree.state()

    def note(self, size: int) -> bytes:
        return self.signer.sign(Checkpoint(self.signer.verifier.name, size, self.state(size).root))

    def proof(self, old: int, size: int) -> list[bytes]:
        return proof(self.state(old), [leaf(one) for one in self.entries(size)[old:]], size) if old else []

    def submission(self, old: int, size: int) -> bytes:
        return Submission(old, tuple(self.proof(old, size)), self.note(size)).encode()


def cosigner() -> Cosigner:
    return Cosigner(NAME, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
