"""Signatures of people: ours and stock `ssh-keygen -Y verify` say the same, for every kind of key and every lie."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from gateway.approval.signatures import BadSignature, SigningKey, read_key, verify
from gateway.control.receipts import BEGIN, END, NAMESPACE, sign_command
from requires import requires

RECEIPT = b'{"approval":"ap-1","decision":"approved","type":"hoop-approval"}'
KINDS = [("ed25519", []), ("ecdsa", ["-b", "256"]), ("ecdsa", ["-b", "384"]), ("ecdsa", ["-b", "521"]),
         ("rsa", ["-b", "2048"]), ("rsa", ["-b", "3072"])]  # fmt: skip


def make_key(directory: Path, kind: str = "ed25519", more: list[str] | None = None) -> tuple[Path, SigningKey]:
    requires("ssh-keygen")
    path = directory / f"key-{kind}-{'-'.join(more or [])}"
    command = ["ssh-keygen", "-q", "-t", kind, *(more or []), "-N", "", "-C", "dana@laptop", "-f", str(path)]
    subprocess.run(command, check=True)
    return path, read_key(path.with_name(f"{path.name}.pub").read_text())


def sign(key: Path, message: bytes = RECEIPT, namespace: str = NAMESPACE, more: tuple[str, ...] = ()) -> str:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, *more, "-f", str(key)]
    return subprocess.run(command, input=message, capture_output=True, check=True).stdout.decode()


def stock(directory: Path, message: bytes, signature: str, keys: list[SigningKey], principal: str = "dana") -> bool:
    """What the stock program says."""
    (directory / "signature").write_text(signature)
    (directory / "signers").write_text("".join(f"{each.line(principal)}\n" for each in keys))
    command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", principal, "-f", str(directory / "signers"),
               "-s", str(directory / "signature")]  # fmt: skip
    return subprocess.run(command, input=message, capture_output=True).returncode == 0


def ours(message: bytes, signature: str, keys: list[SigningKey]) -> bool:
    try:
        verify(message, signature, keys)
    except BadSignature:
        return False
    return True


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_what_ssh_keygen_signed_is_good_and_any_other_bytes_are_not(kind: str, more: list[str], tmp_path: Path) -> None:
    path, key = make_key(tmp_path, kind, more)
    assert sign_command(str(path)) == ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(path)]
    for hashed in ("sha256", "sha512"):
        signature = sign(path, more=("-O", f"hashalg={hashed}"))
        assert verify(RECEIPT, signature, [key]) == key
        assert stock(tmp_path, RECEIPT, signature, [key])
        for other in (RECEIPT + b" ", RECEIPT[:-1], b""):
            assert not ours(other, signature, [key])
            assert not stock(tmp_path, other, signature, [key])


def test_another_key_or_purpose_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    path, key = make_key(tmp_path)
    _, other = make_key(tmp_path / "other")
    signature, elsewhere = sign(path), sign(path, namespace="git")
    for text, keys in ((signature, [other]), (signature, []), (elsewhere, [key])):
        assert not ours(RECEIPT, text, keys)
        assert not stock(tmp_path, RECEIPT, text, keys)
    assert verify(RECEIPT, signature, [other, key]) == key
    with pytest.raises(BadSignature, match="not among yours"):
        verify(RECEIPT, signature, [other])
    with pytest.raises(BadSignature, match="not signed for hoop-approval"):
        verify(RECEIPT, elsewhere, [key])


def test_a_signature_by_an_agent_that_holds_the_key(tmp_path: Path) -> None:
    requires("ssh-agent")
    path, key = make_key(tmp_path)
    socket = tmp_path / "agent.sock"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()
        environment = {"SSH_AUTH_SOCK": str(socket), "PATH": "/usr/bin:/bin"}
        subprocess.run(["ssh-add", "-q", str(path)], check=True, env=environment)
        path.unlink()
        command = sign_command(f"{path}.pub")
        done = subprocess.run(command, input=RECEIPT, capture_output=True, check=True, env=environment)
        assert verify(RECEIPT, done.stdout.decode(), [key]) == key
    finally:
        agent.terminate()
        agent.wait(10)
        assert agent.stdout is not None
        agent.stdout.close()


def packed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def integer(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def armored(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"{BEGIN}\n{lines}\n{END}\n"


def hardware(kind: str, flags: int = 1, application: bytes = b"ssh:") -> tuple[SigningKey, str]:
    """A hardware key's public half and its signature over RECEIPT, made here as the key would (PROTOCOL.u2f)."""
    hashed = hashlib.sha512(RECEIPT).digest()
    signed = b"SSHSIG" + packed(NAMESPACE.encode(), b"", b"sha512", hashed)
    counter = (7).to_bytes(4, "big")
    message = hashlib.sha256(b"ssh:").digest() + bytes([flags]) + counter + hashlib.sha256(signed).digest()
    if kind == "ed25519":
        edwards = ed25519.Ed25519PrivateKey.generate()
        raw = edwards.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        name, public, inner = b"sk-ssh-ed25519@openssh.com", packed(raw), edwards.sign(message)
    else:
        point = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.UncompressedPoint
        raw = point.public_key().public_bytes(serialization.Encoding.X962, form)
        r, s = decode_dss_signature(point.sign(message, ec.ECDSA(hashes.SHA256())))
        name, public = b"sk-ecdsa-sha2-nistp256@openssh.com", packed(b"nistp256", raw)
        inner = packed(integer(r), integer(s))
    blob = packed(name) + public + packed(application)
    signature = packed(name, inner) + bytes([flags]) + counter
    content = b"SSHSIG" + (1).to_bytes(4, "big") + packed(blob, NAMESPACE.encode(), b"", b"sha512", signature)
    return SigningKey(name.decode(), blob), armored(content)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_hardware_keys_signature_is_what_the_stock_program_says_and_needs_a_touch(kind: str, tmp_path: Path) -> None:
    requires("ssh-keygen")
    key, signature = hardware(kind)
    assert ours(RECEIPT, signature, [read_key(f"{key.kind} {base64.b64encode(key.blob).decode()} dana")])
    assert stock(tmp_path, RECEIPT, signature, [key])
    assert not ours(RECEIPT + b" ", signature, [key])
    untouched, signature = hardware(kind, flags=0)
    with pytest.raises(BadSignature, match="did not ask for presence"):
        verify(RECEIPT, signature, [untouched])
    stolen, signature = hardware(kind, application=b"ssh:elsewhere")
    assert not ours(RECEIPT, signature, [stolen])
    assert not stock(tmp_path, RECEIPT, signature, [stolen])


DAMAGE: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("empty", lambda blob: b""),
    ("no magic", lambda blob: b"X" + blob[1:]),
    ("another version", lambda blob: blob[:9] + b"\x02" + blob[10:]),
    ("cut", lambda blob: blob[:-1]),
    ("more behind it", lambda blob: blob + b"\0"),
    ("a huge length", lambda blob: blob[:10] + b"\xff\xff\xff\xff" + blob[14:]),
    ("another hash", lambda blob: blob.replace(b"sha512", b"sha513")),
    ("a flipped bit", lambda blob: blob[:-1] + bytes([blob[-1] ^ 1])),
    ("another kind", lambda blob: blob.replace(b"ssh-ed25519", b"ssh-rsa\0\0\0\0")),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE, ids=[name for name, _ in DAMAGE])
def test_a_damaged_signature_is_none(name: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path, key = make_key(tmp_path)
    text = sign(path)
    blob = base64.b64decode("".join(text.strip()[len(BEGIN) : -len(END)].split()))
    assert ours(RECEIPT, armored(blob), [key])
    assert not ours(RECEIPT, armored(damage(blob)), [key])


@pytest.mark.parametrize(
    "text", ["", "junk", f"{BEGIN}{END}", f"{BEGIN}\n!!!!\n{END}", f"{BEGIN}\n{'A' * 20_000}\n{END}"]
)
def test_what_is_no_signature_is_told_so(text: str) -> None:
    with pytest.raises(BadSignature):
        verify(RECEIPT, text, [])


@given(st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_a_no(blob: bytes) -> None:
    key = SigningKey("ssh-ed25519", packed(b"ssh-ed25519", bytes(32)))
    assert not ours(
        RECEIPT, armored(b"SSHSIG\0\0\0\1" + packed(key.blob, NAMESPACE.encode(), b"", b"sha512", blob)), [key]
    )
    assert not ours(RECEIPT, armored(blob), [key])


BAD_KEYS = [
    "",
    "ssh-ed25519",
    "ssh-ed25519 !!!!",
    "ssh-ed25519 AAAA",
    "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "ssh-dss AAAAB3NzaC1kc3MAAAAA",
    'namespaces="git" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    f"ssh-rsa {base64.b64encode(packed(b'ssh-rsa', integer(65537), integer((1 << 1023) + 1))).decode()}",
]


@pytest.mark.parametrize("line", BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_what_is_no_key_that_may_sign(line: str) -> None:
    with pytest.raises(BadSignature):
        read_key(line)
