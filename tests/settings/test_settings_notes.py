"""The configuration: what is told of one that is right, and does less than one may think."""

from __future__ import annotations

from configurations import (
    CONNECTION,
    HEAD,
    RECIPIENTS,
    Write,
    rules,
)

from gateway.settings import load
from gateway.settings.notes import notes


def test_the_real_issuer_may_be_configured_but_is_noted(write: Write) -> None:
    settings = load(write("[identity]\nissuer = 'https://idp.example/realms/prod'\n"), {})
    assert settings.assurance == "oidc"
    assert any(note.startswith("approvals.assurance: oidc; no [[operator]] has a subject") for note in notes(settings))
    dana = "[[operator]]\nname = 'dana'\nsubject = 's'\nroles = ['decide']\n"
    settings = load(write("[identity]\nissuer = 'https://idp.example/realms/prod'\n" + dana), {})
    assert not any(note.startswith("approvals.assurance") for note in notes(settings))


def test_what_is_never_told_or_never_asked_is_said(write: Write) -> None:
    glass = "[approvals.break_glass]\nreviewers = ['group:incident']\n"
    late = "[approvals]\ntimeout = '5m'\n[approvals.escalation]\nafter = '5m'\n"
    said = list(notes(load(write(HEAD + late + glass + CONNECTION), {})))
    assert any(note.startswith("approvals.break_glass: notify and webhook are empty") for note in said)
    assert "approvals.escalation: after is not before timeout: nothing is ever escalated" in said
    told = "[approvals]\nnotify = ['env:X']\n[approvals.escalation]\nafter = '5m'\n"
    said = list(notes(load(write(HEAD + told + glass + CONNECTION), {})))
    assert not [note for note in said if note.startswith(("approvals.break_glass", "approvals.escalation"))]


def test_what_people_cannot_do_as_configured_is_noted(write: Write) -> None:
    dana = "[[operator]]\nname = 'dana'\nsubject = 's'\nroles = ['decide']\n"
    text = rules("approvals = 2", action="approve").replace("[[connection]]", f"{dana}[[connection]]", 1)
    said = list(notes(load(write("[approvals]\nassurance = 'signed'\n" + text), {})))
    assert any("2 different people are asked for, and 1 may decide" in note for note in said)
    assert any(note.startswith("operator dana: signers: empty") for note in said)


def test_what_is_weak_or_kept_nowhere_is_said(write: Write) -> None:
    said = list(notes(load(write(HEAD + CONNECTION.replace("verify-full", "require")), {})))
    for key in ("identity.development", "approvals.assurance", "evidence.originals", "evidence.literals", "operator"):
        assert any(note.startswith(f"{key}:") for note in said), key
    assert any("sslmode=require" in note for note in said)
    quiet = RECIPIENTS.replace("'all'", "'first:9'")
    said = list(notes(load(write(quiet + CONNECTION), {})))
    assert not any(note.startswith(("evidence.originals", "evidence.literals")) for note in said)
    said = list(notes(load(write(HEAD + '[evidence]\nliterals = "keep"\n' + CONNECTION), {})))
    assert any(note.startswith("evidence.literals: keep") for note in said)
