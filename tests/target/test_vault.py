"""The embedded vault: what it keeps, who opens it, and what a crash or a lost key leaves."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyrage
import pytest

from gateway.errors import ConfigurationFault
from gateway.model import Micros
from gateway.target import vault as module
from gateway.target.credentials import fetch
from gateway.target.vault import Vault, identities, recipient

NOW = Micros(1_700_000_000_000_000)


@pytest.fixture
def recovery() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def vault(tmp_path: Path, recovery: pyrage.x25519.Identity) -> Vault:
    return Vault(tmp_path / "vault", (str(recovery.to_public()),))


def test_what_is_stored_is_found_and_named_and_removed(vault: Vault) -> None:
    assert vault.names() == ()
    assert not vault.store("orders", b"hunter2\xff", NOW)
    assert vault.store("orders", b"hunter3", Micros(NOW + 1))
    assert not vault.store("billing", b"x", NOW)
    assert fetch(f"vault:{vault.directory}#orders").reveal() == b"hunter3"
    assert vault.names() == (
        ("billing", "2023-11-14T22:13:20.000000Z"),
        ("orders", "2023-11-14T22:13:20.000001Z"),
    )
    assert vault.remove("orders")
    assert not vault.remove("orders")
    with pytest.raises(ConfigurationFault, match="vault:orders is not there"):
        vault.get("orders")


def test_nothing_is_on_disk_in_clear_or_open_to_others(vault: Vault) -> None:
    vault.store("orders", b"hunter2-Sesame", NOW)
    for path in vault.directory.iterdir():
        assert b"hunter2" not in path.read_bytes()
        assert b"orders" not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(vault.directory.stat().st_mode) == 0o700
    assert "hunter2" not in f"{vault!r}{vault.names()}{module.Stored(b'hunter2', '')!r}"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("", b"x", "letters"),
        ("a/b", b"x", "letters"),
        ("a#b", b"x", "letters"),
        ("ä", b"x", "letters"),
        ("a" * 64, b"x", "letters"),
        ("a", b"", "1 to"),
        ("a", b"x\0", "NUL"),
        ("a", b"x" * (module.SECRET_BYTES + 1), "1 to"),
    ],
)
def test_what_is_not_stored(vault: Vault, name: str, value: bytes, words: str) -> None:
    with pytest.raises(ConfigurationFault, match=words):
        vault.store(name, value, NOW)
    assert not vault.secrets.exists()


def test_the_recovery_key_opens_a_vault_whose_own_key_is_lost(vault: Vault, recovery: pyrage.x25519.Identity) -> None:
    vault.store("orders", b"hunter2", NOW)
    vault.identity.unlink()
    for read in (vault.names, lambda: vault.store("more", b"x", NOW), vault.rekey):
        with pytest.raises(ConfigurationFault, match="recover"):
            read()
    assert not vault.identity.exists()
    with pytest.raises(ConfigurationFault, match="does not open with this key"):
        vault.recover([pyrage.x25519.Identity.generate()])
    assert vault.recover([recovery]) == 1
    assert vault.get("orders") == b"hunter2"


def test_a_damaged_or_foreign_vault_is_said_so(vault: Vault, tmp_path: Path) -> None:
    vault.store("orders", b"hunter2", NOW)
    content = vault.secrets.read_bytes()
    for damaged in (content[:-1], b"", content[:-20] + bytes(20), b"age-encryption.org/v1\n"):
        vault.secrets.write_bytes(damaged)
        with pytest.raises(ConfigurationFault, match="does not open"):
            vault.get("orders")
    other = Vault(tmp_path / "other")
    other.store("orders", b"x", NOW)
    vault.secrets.write_bytes(other.secrets.read_bytes())
    with pytest.raises(ConfigurationFault, match="does not open"):
        vault.get("orders")


def test_a_new_key_takes_the_old_ones_power(vault: Vault) -> None:
    vault.store("orders", b"hunter2", NOW)
    old = identities(vault.identity.read_text(), "old")
    vault.rekey()
    assert vault.get("orders") == b"hunter2"
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(vault.secrets.read_bytes(), old)


@pytest.mark.parametrize("crash_at", [1, 2, 3])
def test_a_crash_while_the_key_changes_leaves_a_vault_that_opens(
    vault: Vault, crash_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.store("orders", b"hunter2", NOW)
    real, calls = module.write_private, []

    def write(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == crash_at:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(module, "write_private", write)
    with pytest.raises(ConfigurationFault, match="No space"):
        vault.rekey()
    monkeypatch.undo()
    assert vault.get("orders") == b"hunter2"
    vault.store("more", b"x", NOW)
    assert vault.get("orders") == b"hunter2"


def test_two_at_once_lose_nothing(vault: Vault) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: vault.store(f"s{number}", b"x", NOW), range(40)))
    assert len(vault.names()) == 40


def test_a_recovery_key_that_the_gateway_holds_is_refused(vault: Vault) -> None:
    vault.store("orders", b"x", NOW)
    own = str(identities(vault.identity.read_text(), "own")[0].to_public())
    with pytest.raises(ConfigurationFault, match="itself holds that key"):
        Vault(vault.directory, (own,)).store("orders", b"y", NOW)
    assert vault.get("orders") == b"x"


def test_keys_are_checked_without_being_repeated() -> None:
    secret = str(pyrage.x25519.Identity.generate())
    with pytest.raises(ConfigurationFault) as caught:
        recipient(secret)
    assert secret not in str(caught.value)
    with pytest.raises(ConfigurationFault, match="holds no age key") as caught:
        identities(secret[:-1], "FILE")
    assert secret[:-1] not in str(caught.value)
    assert len(identities(f"# made today\n\n{secret}\n", "FILE")) == 1
