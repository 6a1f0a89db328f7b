"""The tree of RFC 6962, against the published vectors and against its own definition."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence.tree import Tree

# The vectors of the certificate-transparency project's merkle tree tests: eight leaves and the root at each size.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def defined(entries: list[bytes]) -> bytes:
    """The root as section 2.1 writes it, without any cleverness."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    half = 1 << (len(entries) - 1).bit_length() - 1
    return sha256(b"\1" + defined(entries[:half]) + defined(entries[half:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_published_vectors(size: int) -> None:
    tree = Tree()
    for one in LEAVES[:size]:
        tree.append(bytes.fromhex(one))
    assert tree.root.hex() == ROOTS[size]
    assert tree.state().root == tree.root
    assert tree.state().size == size


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_is_the_definition_at_every_size(entries: list[bytes]) -> None:
    tree = Tree()
    states = [tree.state()]
    for entry in entries:
        tree.append(entry)
        states.append(tree.state())
    assert [one.root for one in states] == [defined(entries[:size]) for size in range(len(entries) + 1)]


@given(st.integers(0, 40), st.lists(st.integers(0, 40), max_size=4))
def test_many_leaves_at_once_are_as_one_by_one(first: int, more: list[int]) -> None:
    tree, other, leaves = Tree(), Tree(), [sha256(bytes([at])).digest() for at in range(first + sum(more))]
    for one in leaves[:first]:
        tree.add(one)
    for count in more:
        tree.extend(leaves[tree.size : tree.size + count])
    for one in leaves:
        other.add(one)
    assert tree.state() == other.state()
