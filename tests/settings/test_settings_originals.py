"""The configuration: who can open what is sealed, and how much is."""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations import (
    AUDITORS,
    HEAD,
    IDENTITIES,
    OWN,
    RECIPIENTS,
    Write,
    faults,
)

from gateway.settings import load
from gateway.settings.notes import notes


def test_recipients_are_auditors_whose_secret_keys_lie_elsewhere(write: Write, tmp_path: Path) -> None:
    settings = load(write(RECIPIENTS), {"HOME": "/nowhere", "OTHER": OWN})
    assert settings.evidence.recipients == AUDITORS[:2]
    assert settings.evidence.originals_kept is None
    assert not any(note.startswith("evidence.originals") for note in notes(settings))
    secret = str(IDENTITIES[1])
    assert "the variable KEY" in faults(write(RECIPIENTS), {"KEY": f"x {secret.lower()}\n"})[0]
    for place in ("vault.key", "keys/deep/one"):
        path = tmp_path / "state" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"# created\n" + secret.encode() + b"\n\xff")
        (found,) = faults(write(RECIPIENTS))
        assert found.startswith("evidence.recipients: ")
        assert str(path) in found
        assert secret not in found
        path.unlink()
    (tmp_path / "state" / "evidence").mkdir()
    (tmp_path / "state" / "evidence" / "payload").write_text(secret)
    load(write(RECIPIENTS), {})  # what an agent wrote there is not the gateway's


@pytest.mark.parametrize(("kept", "rows"), [("all", None), ("none", 0), ("first:7", 7)])
def test_originals_are_kept_as_told(write: Write, kept: str, rows: int | None) -> None:
    assert load(write(RECIPIENTS.replace("'all'", f"'{kept}'")), {}).evidence.originals_kept == rows
    assert load(write(HEAD + f"[evidence]\noriginals = '{kept}'\n"), {}).evidence.originals_kept == 0
