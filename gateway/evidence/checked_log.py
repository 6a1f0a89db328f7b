"""One log as `verify` checks it: its files, how far it was followed, and what its key and its witness signed.

Promises that a segment that was followed by itself counts only where it began with what came before it; else it is
followed again from there. Reads the files of one log.
"""

from __future__ import annotations

from pathlib import Path

from gateway.evidence.entry import Malformed
from gateway.evidence.following import Following
from gateway.evidence.frontier import read_frontier
from gateway.evidence.segment_rows import connect
from gateway.evidence.segment_tasks import Task, Worked, follow_task
from gateway.evidence.segments import numbers_in
from gateway.evidence.signatures import Signatures


class CheckedLog:
    """The log in `directory`."""

    def __init__(self, directory: Path, *, quick: bool) -> None:
        self.directory, self.quick = directory, quick
        self.segments, self.journals = numbers_in(directory)
        self.state = Following(directory, quick=quick)
        self.signatures = Signatures(directory, self.state.find, quick=quick)
        self.digests: dict[Path, str] = {}
        """BLAKE3 of each file of a segment that is there."""
        self.first = 0
        """Sequence number of its first record that is not pruned."""
        self.pruned = 0
        """The last segment that was pruned: the log is followed from its end on; 0: from its beginning."""

    def begin(self) -> None:
        """Fix which roots are compared, once a witness has told its part; go to where the records begin."""
        due, signed = self.signatures.sizes, self.signatures.signed
        self.state = Following(self.directory, due, signed=signed, quick=self.quick, findings=self.state.findings)
        self.signatures.find = self.state.find
        first = self.segments[0] if self.segments else 1
        frontier = read_frontier(self.directory, first - 1)
        if frontier is not None:
            self.pruned, self.first = first - 1, frontier.size
            self.state.skip(frontier)
            if frontier.size not in due:
                what = f"segments up to {first - 1} are missing, and nobody signed how the log stood after them"
                self.state.find("tampered", frontier.size, what)

    def begins(self, number: int) -> int:
        """Return the sequence number with which segment `number` begins, as the one before it tells."""
        frontier = read_frontier(self.directory, number - 1)
        return self.first if frontier is None else frontier.size

    def tasks(self) -> list[Task]:
        """Return its segments and its live tail, to be followed each by itself."""
        due, signed, before = self.signatures.sizes, self.signatures.signed, [self.pruned, *self.segments]
        found = [
            Task(self.directory, number, claim, due, signed, self.quick)
            for claim, number in zip(before, self.segments, strict=False)
        ]
        if self.journals:
            found.append(Task(self.directory, 0, before[-1], due, signed, self.quick, tuple(self.journals)))
        return found

    def take(self, task: Task, result: Worked) -> None:
        """Go on behind a segment or a tail that was followed by itself."""
        self.digests |= result.digests
        believed = self.quick and not task.journals  # a quick check is where the frontier says
        if result.state is not None and (believed or self._begun(task)):
            self.state.join(result.state)
        else:
            self._again(task)
        self.reached()

    def _begun(self, task: Task) -> bool:
        """Say whether it began where this log stands now."""
        begun = Following(self.directory, after=read_frontier(self.directory, task.claim))
        whole = not self.state.broken  # where the tree is known to be wrong, that is no news
        return begun.place(tree=whole) == self.state.place(tree=whole)

    def _again(self, task: Task) -> None:
        try:
            follow_task(self.state, task, connect)
        except Malformed as fault:
            self.state.unreadable(str(fault))

    def reached(self) -> None:
        """Compare the roots that were reached since the last time."""
        for size, root in sorted(self.state.roots.items()):
            self.signatures.reach(size, root)
        self.state.roots.clear()
        self.signatures.broken = self.state.broken = self.signatures.broken or self.state.broken

    def finish(self) -> None:
        """Check the log's end: parts, sessions, and how far signatures reach."""
        state = self.state
        state.finish()
        try:
            self.signatures.finish(state.expected, state.first_unsigned, state.last_ts, closed=state.closed)
        except Malformed as fault:
            state.find("tampered", state.expected - 1, str(fault))
