"""References to credentials: what they name, and that nothing shows them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from gateway.errors import ConfigurationFault
from gateway.target.credentials import FILE_LIMIT, Secret, fetch


def test_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_SECRET", "p\udcffw\n")
    assert fetch("env:EDGE_SECRET").reveal() == b"p\xffw\n"


@pytest.mark.parametrize(
    ("content", "secret"), [(b"pw", b"pw"), (b"pw\n", b"pw"), (b"pw\r\n", b"pw"), (b"p w\n\n", b"p w\n"), (b" ", b" ")]
)
def test_by_file(tmp_path: Path, content: bytes, secret: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert fetch(f"file:{tmp_path}/secret").reveal() == secret


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:EDGE_UNSET", "EDGE_UNSET is not set"),
        ("env:EDGE_EMPTY", "empty"),
        ("file:/nonexistent/secret", "No such file"),
        ("file:/", "directory"),
        ("file:/dev/null", "empty"),
        ("file:/dev/zero", "larger"),
        ("vault:orders", "must be a reference"),
        ("vault:/nonexistent/vault#orders", "vault:orders is not there"),
        ("hashicorp:kv/orders", "must be a reference"),
        ("env:", "must be a reference"),
        ("file:", "must be a reference"),
        ("", "must be a reference"),
    ],
)
def test_what_names_nothing(monkeypatch: pytest.MonkeyPatch, reference: str, words: str) -> None:
    monkeypatch.setenv("EDGE_EMPTY", "")
    with pytest.raises(ConfigurationFault, match=words):
        fetch(reference)


def test_a_password_in_place_of_a_reference_is_not_repeated() -> None:
    with pytest.raises(ConfigurationFault) as caught:
        fetch("hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_nul_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"a\0b")
    with pytest.raises(ConfigurationFault, match="NUL"):
        fetch(f"file:{tmp_path}/secret")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"a" * (FILE_LIMIT + 1))
    with pytest.raises(ConfigurationFault, match="larger"):
        fetch(f"file:{tmp_path}/secret")


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(b"hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
