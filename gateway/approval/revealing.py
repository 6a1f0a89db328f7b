"""What of a held statement is withheld, shown once to a person who may decide about it.

Promises that nobody sees it twice, that nobody sees it who may not decide, and that nothing is shown once that is
done with. It writes nothing down: the caller records the look before it shows anything.
"""

from __future__ import annotations

from gateway.approval.ledger import Approval, Approver
from gateway.approval.people import may_approve
from gateway.control.messages import Refusal
from gateway.model import ApprovalId, Exact

SHOWN_EXACT = 150_000
"""Characters of a statement and its parameters that fit into a frame, however they are escaped."""


class Revealing:
    """Who has seen what was withheld of which operation."""

    def __init__(self) -> None:
        self._revealed: set[tuple[ApprovalId, str]] = set()

    def reveal(self, found: Approval, approver: Approver) -> Exact:
        """Return what was sent, literals that are withheld included, once, to somebody who may decide about it.

        The caller records the look before it shows anything. Raises Refusal.
        """
        exact = found.request.exact
        if exact is None:
            raise Refusal("not_found", "nothing of this statement is withheld")
        if not found.open:
            raise Refusal("already_decided", "it was decided: what was withheld is in the sealed originals")
        if (why_not := may_approve(approver, found.request)) is not None:
            raise Refusal("forbidden", why_not)
        if len(exact.statement) + sum(len(each or "") for each in exact.parameters) > SHOWN_EXACT:
            raise Refusal("unavailable", "it is too long to be shown; auditors find it in the sealed originals")
        if (found.id, approver.name) in self._revealed:
            raise Refusal("forbidden", "it was shown once; auditors find it in the sealed originals")
        self._revealed.add((found.id, approver.name))
        return exact
