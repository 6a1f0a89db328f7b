"""The notifier that the configuration asks for. Does no I/O of its own; secrets are looked up at each sending."""

from __future__ import annotations

from collections.abc import Callable

from gateway.model import Clock
from gateway.notify.delivery import Destination, Service, Webhook, must_have_apprise
from gateway.notify.notifier import Notifier
from gateway.notify.outbox import Outbox
from gateway.settings import Settings
from gateway.target.credentials import obtain


def notifier_of(settings: Settings, clock: Clock, alarm: Callable[[str, str], None]) -> Notifier | None:
    """Return what tells people, None where nobody is to be told. Raises `ConfigurationFault`."""
    asked = settings.approvals
    further = asked.escalation.notify if asked.escalation is not None else ()
    if asked.notify or further:
        must_have_apprise()
    services = [Service(f"notify-{number}", each, obtain) for number, each in enumerate(asked.notify)]
    hooks = [
        Webhook(f"webhook-{number}", each.url, each.secret, obtain, clock) for number, each in enumerate(asked.webhook)
    ]
    told: list[Destination] = [*services, *hooks]
    if not told and not further:
        return None
    later: list[Destination] = []
    if asked.escalation is not None:
        later = [*(Service(f"escalation-{number}", each, obtain) for number, each in enumerate(further)), *hooks]
    outbox = Outbox(settings.gateway.state_dir / "outbox")
    return Notifier(told, outbox, clock, alarm, decisions_to=hooks, escalations_to=later)
