"""How a person's decision reaches the ledger: who they are by their login, what they are given for it, what they sign.

Promises that at `oidc` and `signed` nobody decides without a login of this seat that is not older than ten minutes and
that the issuer still calls good; that at `signed` an approval counts only with a signature of the operator's own key
over the very receipt that was written for it, once, within two minutes, by who they are then; that a receipt quotes
every approval before it; and that the decision is stamped with how surely its person was known, never better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.approval.events import Approval
from gateway.approval.people import Approver, Leave, Receipt, may_approve, may_break_glass, may_refuse
from gateway.approval.reasons import clean_reason
from gateway.approval.receipt import receipt_text
from gateway.approval.signatures import BadSignature, read_key, verify
from gateway.approval.waiting import Approvals
from gateway.control.logins import Login, Logins
from gateway.control.messages import Refusal
from gateway.control.operators import Operator
from gateway.control.seat import Seat
from gateway.model import ApprovalId, Clock, DecisionKind, Entropy, Micros

SIGN_WITHIN = 120 * 1_000_000
"""Microseconds after which a receipt that waits to be signed is forgotten."""
MAX_PREPARED = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks over the control socket: the operator of their user id, and where they sit."""

    operator: Operator
    seat: Seat


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided, as they said it."""

    approval: ApprovalId
    kind: DecisionKind
    reason: str
    quoted: str | None = None
    leave: Leave | None = None
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    decision: Decision
    approver: Approver
    text: str
    until: Micros
    votes: int
    """How many had approved when it was written: the receipt quotes them."""


class Deciding:
    """Decisions of one gateway. `policy` gives the hash of a connection's policy in force.

    `countersign` makes the gateway's own signature over a receipt.
    """

    def __init__(
        self,
        approvals: Approvals,
        logins: Logins,
        clock: Clock,
        entropy: Entropy,
        *,
        gateway: str,
        assurance: str,
        grant_limit: int,
        policy: Callable[[str], str],
        was_agent: Callable[[str], bool],
        countersign: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.assurance = assurance
        self._approvals, self._logins, self._clock, self._entropy = approvals, logins, clock, entropy
        self._gateway, self._grant_limit = gateway, grant_limit
        self._policy, self._was_agent, self._countersign = policy, was_agent, countersign
        self._prepared: dict[tuple[Seat, ApprovalId], _Prepared] = {}

    async def person(self, caller: Caller, role: str = "decide") -> tuple[Operator, Login | None]:
        """Return who decides, and their login; None: the user id is all that is known. Raises Refusal."""
        login = self._logins.of(caller.seat)
        if login is None:
            if self.assurance != "uid":
                raise Refusal(
                    "forbidden", "deciding needs a login, not older than 10 minutes: `hoop-gateway login`, :login here"
                )
            operator = caller.operator
        else:
            operator = login.operator
        if not operator.may(role):
            raise Refusal("forbidden", f"{operator.name} lacks the role `{role}`")
        if login is not None and (why_not := await self._logins.stands(login)) is not None:
            raise Refusal("forbidden", f"your login is no longer good: {why_not}")
        if login is not None and self._logins.of(caller.seat) is not login:  # it ended while the issuer was asked
            raise Refusal("forbidden", "your login is no longer good: it ended a moment ago")
        return operator, login

    async def approver(self, caller: Caller) -> Approver:
        """Return the caller as the ledger knows people who decide. Raises Refusal where they may not."""
        operator, login = await self.person(caller)
        return self._approver(operator, login, "uid" if login is None else "oidc")

    async def prepare(self, caller: Caller, decision: Decision) -> str:
        """Return the receipt that the person has to sign for `decision`. Raises Refusal where it would not count."""
        operator, login = await self.person(caller)
        if login is None or not operator.signers:
            raise Refusal(
                "forbidden", f"no key signs for {operator.name}: [[operator]] signers names their public keys"
            )
        approver = self._approver(operator, login, "signed")
        approval = self._approvals.current(decision.approval)
        why_not = self._why_not(decision, approver, approval)
        if why_not is not None:
            raise Refusal("forbidden", why_not)
        text = self._receipt(decision, approver, approval)
        now = self._clock.now()
        self._prepared = {key: each for key, each in self._prepared.items() if each.until > now}
        if len(self._prepared) >= MAX_PREPARED:
            raise Refusal("unavailable", "too many receipts wait to be signed")
        until = Micros(now + SIGN_WITHIN)
        self._prepared[caller.seat, decision.approval] = _Prepared(decision, approver, text, until, len(approval.votes))
        return text

    async def decide(self, caller: Caller, decision: Decision, signature: str | None) -> Approval:
        """Carry `decision` out; returns the approval once it is on disk. Raises Refusal."""
        operator, login = await self.person(caller)
        if decision.leave is not None and decision.leave.seconds > self._grant_limit // 1_000_000:
            raise Refusal("bad_request", f"the longest period here is {self._grant_limit // 60_000_000} minutes")
        if signature is not None:
            approver, receipt = self._signed(caller, decision, operator, login, signature)
        elif self.assurance == "signed" and decision.kind is DecisionKind.APPROVED:
            raise Refusal("forbidden", "approving here needs your signature over the receipt: name your key with --key")
        else:
            approver = self._approver(operator, login, "uid" if login is None else "oidc")
            approval = self._approvals.current(decision.approval)
            text = self._receipt(decision, approver, approval)
            receipt = Receipt(text, countersignature=self._countersign(text))
        return await self._approvals.decide(
            decision.approval,
            decision.quoted,
            approver,
            decision.kind,
            decision.reason,
            receipt,
            decision.leave,
            break_glass=decision.break_glass,
        )

    def _why_not(self, decision: Decision, approver: Approver, approval: Approval) -> str | None:
        """Say why the ledger would not take this decision of this person, None where it may."""
        if decision.break_glass:
            return may_break_glass(approver, approval.request, self._approvals.terms.break_glass)
        if decision.kind is DecisionKind.APPROVED:
            return may_approve(approver, approval.request, approval.votes)
        return may_refuse(approver, approval.request)

    def _signed(
        self, caller: Caller, decision: Decision, operator: Operator, login: Login | None, signature: str
    ) -> tuple[Approver, Receipt]:
        """Return who signed and what, where the signature is of the receipt that waits for it; it is used up."""
        prepared = self._prepared.pop((caller.seat, decision.approval), None)
        if prepared is None or prepared.until <= self._clock.now() or prepared.approver.name != operator.name:
            raise Refusal("forbidden", "no receipt of yours waits to be signed, or it waited too long: sign a new one")
        if prepared.approver != self._approver(operator, login, "signed"):  # another login, or an agent's by now
            raise Refusal("forbidden", "you are known otherwise than when the receipt was written: sign a new one")
        if prepared.decision != decision:
            raise Refusal("forbidden", "what was signed is another decision; sign a new receipt")
        if prepared.votes != len(self._approvals.current(decision.approval).votes):
            raise Refusal(
                "forbidden", "somebody else approved meanwhile, which your receipt must quote: sign a new one"
            )
        keys = [read_key(line) for line in operator.signers]
        try:
            key = verify(prepared.text.encode(), signature, keys)
        except BadSignature as fault:
            raise Refusal("forbidden", f"the signature does not count: {fault}") from None
        signed = signature.strip() + "\n"
        return prepared.approver, Receipt(
            prepared.text, signed, key.line(operator.name), self._countersign(prepared.text)
        )

    def _approver(self, operator: Operator, login: Login | None, assurance: str) -> Approver:
        subject = operator.subject if login is None else login.person.subject
        return Approver(
            operator.name,
            subject,
            operator.groups,
            assurance,
            for_all_groups=operator.implicit,
            issuer=None if login is None else login.person.issuer,
            was_agent=subject is not None and self._was_agent(subject),
        )

    def _receipt(self, decision: Decision, approver: Approver, approval: Approval) -> str:
        return receipt_text(
            approval.request,
            decision.kind,
            approver,
            clean_reason(decision.reason),
            gateway=self._gateway,
            policy=self._policy(approval.request.session.connection),
            now=self._clock.now(),
            expires=approval.expires,
            nonce=self._entropy.bytes(16).hex(),
            votes=approval.votes,
            leave=decision.leave,
            escalated=approval.escalated,
            break_glass=decision.break_glass,
        )
