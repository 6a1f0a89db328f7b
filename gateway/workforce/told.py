"""What a worker in another process tells consoles, and what it has recorded elsewhere.

Promises that nothing is made of a record's event while nobody looks, and that a supervisor or console that does not
keep up costs events, counted, and never memory or a session's time.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.control.events import Later
from gateway.errors import OurBug
from gateway.model import Draft, Json
from gateway.workforce.channel import Channel
from gateway.workforce.messages import Done, Published, Skipped, WitnessSaid


class Telling:
    """Publishes through the supervisor; see `gateway.control.events.Events.publish`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._watched = False
        self._skipped = 0

    def heard(self) -> bool:
        """Say whether the event of a record would be told; else it is counted, and need not be made."""
        heard = self._watched and not self._channel.full
        self._skipped += not heard
        return heard

    def publish(self, event: str, data: Mapping[str, Json] | Later) -> None:
        """Tell, or count what was not told. Never waits."""
        if event == "record":
            if not self.heard():
                return
            if self._skipped:
                self._say_skipped(unwatched=False)
        self._channel.tell(Published(event, data.make() if isinstance(data, Later) else data))

    def watched(self, *, records: bool) -> None:
        """Somebody looks at single records from now on, or nobody does any more."""
        if records and not self._watched and self._skipped:
            self._say_skipped(unwatched=True)
        self._watched = records

    def _say_skipped(self, *, unwatched: bool) -> None:
        self._channel.tell(Skipped(self._skipped, unwatched))
        self._skipped = 0


class WitnessRecords:
    """Where the words of witnesses about a worker's log are recorded: the control log, by the supervisor."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def record(self, draft: Draft) -> None:
        """Record a `witness` draft; returns once it is on disk. Raises `EvidenceFault`."""
        if draft.kind != "witness" or draft.payload is not None:
            raise OurBug("a worker records nothing else in the control log")
        await self._channel.ask(WitnessSaid(dict(draft.fields)), Done)
