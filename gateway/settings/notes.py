"""What an operator should know of a valid configuration: what is weak in it, kept nowhere, or never going to happen.

`notes` promises one line for each, saying what it comes to. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.settings.tables import Settings


def _about_people(settings: Settings) -> Iterator[str]:
    """Yield what stands in the way of deciding, or makes it weak."""
    assurance, deciding = settings.assurance, [each for each in settings.operator if "decide" in each.roles]
    if assurance == "uid":
        yield "approvals.assurance: uid; approvals are stamped weak"
        if not settings.operator:
            yield "operator: none is configured; only the user that runs the gateway, and root, may watch and decide"
    else:
        deciding = [each for each in deciding if each.subject is not None]
        if not deciding:
            yield (
                f"approvals.assurance: {assurance}; no [[operator]] has a subject and the role decide, so what is held"
                " expires undecided"
            )
    for operator in deciding if assurance == "signed" else ():
        if not operator.signers:
            yield f"operator {operator.name}: signers: empty; at assurance signed they may refuse, not approve"
    glass, escalation = settings.approvals.break_glass, settings.approvals.escalation
    if glass is not None and not (settings.approvals.notify or settings.approvals.webhook):
        yield "approvals.break_glass: notify and webhook are empty; who breaks the glass is told to nobody outside"
    if escalation is not None and escalation.after >= settings.approvals.timeout:
        yield "approvals.escalation: after is not before timeout: nothing is ever escalated"
    for entry in settings.connection:
        for rule in entry.rule:
            wanted = len(rule.reviewers) if rule.approvals == "each" else int(rule.approvals)
            if wanted > max(1, len(deciding)):
                yield (
                    f"connection {entry.name}: rule {rule.name}: approvals: {wanted} different people are asked for,"
                    f" and {len(deciding)} may decide"
                )


def notes(settings: Settings) -> Iterator[str]:
    """Yield what `check` says beside faults, one line each, beginning with the key."""
    if settings.identity.development:
        yield "identity.development: the built-in issuer, for trying out only: every record is stamped `development`"
    elif settings.identity.introspection == "off":
        yield "identity.introspection: off; a revoked token is good until it expires, unless an operator strikes it"
    yield from _about_people(settings)
    if settings.evidence.originals != "none" and not settings.evidence.recipients:
        yield "evidence.originals: no recipients; originals of masked values are not kept, since nobody could open them"
    if settings.evidence.literals == "keep":
        yield "evidence.literals: keep; statements are recorded as sent, values of marked columns in them included"
    elif not settings.evidence.recipients:
        yield "evidence.literals: no recipients; what is withheld of statements is kept nowhere"
    if not (settings.evidence.witness or settings.evidence.sink):
        yield "evidence.witness: none is configured; whoever is root here can rewrite the evidence and sign it again"
    if not settings.vault.recovery and _uses_vault(settings):
        yield "vault.recovery: names no key; whoever loses this machine loses the vault"
    if not settings.connection:
        yield "connection: none is configured; no agent can connect"
    yield from _connections(settings)


def _connections(settings: Settings) -> Iterator[str]:
    for entry in settings.connection:
        if not entry.agents:
            yield f"connection {entry.name}: agents: empty; no agent may use it"
        if entry.policy == "observe":
            yield f"connection {entry.name}: policy: observe records what standard would have said, and refuses little"
        for rule in entry.rule:
            place = f"connection {entry.name}: rule {rule.name}"
            if rule.action == "allow" and rule.replaces is None:
                yield f"{place}: relaxes nothing: without replaces the strictest match wins"
            elif rule.accept_risk is not None:
                yield f"{place}: {rule.action} for {rule.replaces}: {rule.accept_risk}"
        if entry.target.sslmode in {"disable", "allow", "prefer", "require"} and not entry.target.host.startswith("/"):
            yield f"connection {entry.name}: target: sslmode={entry.target.sslmode} does not prove which server answers"


def _uses_vault(settings: Settings) -> bool:
    references = [settings.identity.client_secret, *(entry.password for entry in settings.connection)]
    return any((each or "").startswith("vault:") for each in references)
