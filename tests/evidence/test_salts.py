"""Salts are random, used once, and never those of another process."""

from __future__ import annotations

import subprocess
import sys

from evidence_double import CountedEntropy

from gateway.evidence.salts import SIZE, Salts
from gateway.evidence.storage import SystemEntropy


class Watched(SystemEntropy):
    """The kernel's, with what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def bytes(self, count: int) -> bytes:
        self.asked.append(count)
        return super().bytes(count)


def test_each_is_another_and_the_kernel_is_asked_for_many_at_once() -> None:
    entropy = Watched()
    salts = Salts(entropy)
    drawn = [salts.take() for _ in range(1000)]
    assert {len(salt) for salt in drawn} == {SIZE}
    assert len(set(drawn)) == 1000
    assert len(entropy.asked) < 10
    assert sum(entropy.asked) < (1000 + 128) * SIZE


def test_what_was_handed_out_is_not_kept() -> None:
    salts = Salts(SystemEntropy())
    taken = salts.take()
    assert taken not in salts._ready
    assert not any(taken in each for each in salts._ready)


def test_another_source_is_asked_for_each() -> None:
    salts, counted = Salts(CountedEntropy()), CountedEntropy()
    assert [salts.take() for _ in range(5)] == [counted.bytes(SIZE) for _ in range(5)]


FORK = """
import os
from gateway.evidence.salts import Salts
from gateway.evidence.storage import SystemEntropy
salts = Salts(SystemEntropy())
salts.take()
child = os.fork()
os.write(1, b"".join(salts.take() for _ in range(3)))
if child:
    os.waitpid(child, 0)
"""


def test_a_child_draws_its_own() -> None:
    """Drawn before a fork, the same salts would be used twice. In a process of its own, which has no thread yet."""
    drawn = subprocess.run([sys.executable, "-c", FORK], check=True, capture_output=True).stdout
    assert len({drawn[place : place + SIZE] for place in range(0, len(drawn), SIZE)}) == 6
