"""What supervisor and worker say to each other: frozen values, each with the type of its answer.

An *ask* is answered by a value or a fault, a *tell* by nothing. Each side takes only what stands in its table, so that
a worker can neither decide, nor record anything in the control log beside logins and alarms. Values only; no I/O.
Tokens cross the border, since the supervisor alone judges them; they are hidden in every repr and never logged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.approval.grants import Grant
from gateway.identity.admission import Credential
from gateway.masking.carried import Carried
from gateway.model import (
    ApprovalId,
    Decision,
    HoldRequest,
    Impact,
    Micros,
    OperationHash,
    Outcome,
    Principal,
    SessionId,
    SessionInfo,
)

# --- a worker asks its supervisor ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admit:
    """Somebody is at the door with a token: `Credential`."""

    token: str = field(repr=False)
    client_address: str
    certificate: str | None


@dataclass(frozen=True, slots=True)
class Enter:
    """Take a place for a session of this identity: `Done`. `place` is the worker's own number of it, until `Left`."""

    place: int
    principal: Principal


@dataclass(frozen=True, slots=True)
class Stands:
    """Is it still good, by an answer at most `max_age` seconds old? `Done`."""

    credential: Credential
    max_age: float


@dataclass(frozen=True, slots=True)
class Renewing:
    """A live session wants to go on with another token: `Credential`."""

    old: Credential
    token: str = field(repr=False)
    client_address: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Record a login, or the renewal of one: `Done`, once it is on disk."""

    place: int
    info: SessionInfo
    renewal: bool


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Record a refused login: `Done`, once it is on disk."""

    client_address: str
    connection: str
    reason: str
    subject: str | None
    issuer: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """Ask people, and wait for what they say: `Decided`."""

    request: HoldRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """Ask people without waiting: `Open`."""

    request: HoldRequest


@dataclass(frozen=True, slots=True)
class Opened:
    """Wait until people can see it: `Done`."""

    approval: ApprovalId


@dataclass(frozen=True, slots=True)
class Claim:
    """Use up an approval that this identity was given for this very operation: `Claimed`."""

    operation_hash: OperationHash
    principal: Principal


@dataclass(frozen=True, slots=True)
class Objection:
    """Does anything speak against an approval that was given? `Words`."""

    approval: ApprovalId


@dataclass(frozen=True, slots=True)
class GrantNow:
    """Is there leave for this at this moment? `Granting`."""

    principal: Principal
    connection: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessSaid:
    """Record what a witness signed of the worker's log: `Done`, once it is on disk."""

    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class Carry:
    """Columns are about to receive values of marked ones: `Done`, once every worker has them marked."""

    connection: str
    carried: tuple[Carried, ...]
    who: str


# --- a worker tells its supervisor --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndHold:
    """The hold that was asked with the question `of` is no longer wanted; `gone`: its client hung up."""

    of: int
    gone: bool


@dataclass(frozen=True, slots=True)
class Weighed:
    """What became known of a held operation."""

    approval: ApprovalId
    impact: Impact


@dataclass(frozen=True, slots=True)
class Executed:
    """How an approved operation ended."""

    approval: ApprovalId
    operation_hash: OperationHash
    outcome: Outcome
    rows: int
    duration_us: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An approved operation was not forwarded after all."""

    approval: ApprovalId
    why: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that should not happen was noticed."""

    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Left:
    """A place is free again."""

    place: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A client that was handed over is gone, whatever became of it."""


@dataclass(frozen=True, slots=True)
class Published:
    """An event for consoles."""

    event: str
    data: object


@dataclass(frozen=True, slots=True)
class Skipped:
    """So many events of records were not told: nobody looked (`unwatched`), or there were too many."""

    count: int
    unwatched: bool


# --- a supervisor asks its worker ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: who it is, and what it serves by. Answered by `Done` once its log is open."""

    config: str
    """The configuration's file, and `text`, its content as the supervisor read it."""
    text: bytes = field(repr=False)
    place: str
    """Its log's own name: `w1`."""
    workers: int
    salt: bytes = field(repr=False)
    """Of operation hashes: an approval is good for the operation in whatever worker it comes."""
    issuer: str
    accept_loss: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """End a session, if it is still there: `Done`."""

    session: SessionId
    words: str
    reason: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Mark these columns from now on: `Adopted`, once that is kept and in force."""

    connection: str
    carried: tuple[Carried, ...]


@dataclass(frozen=True, slots=True)
class Describe:
    """How are you? `Described`; with `sessions`, each of them."""

    sessions: bool


@dataclass(frozen=True, slots=True)
class Heed:
    """Have you taken what you were told before this? `Done`."""


@dataclass(frozen=True, slots=True)
class Append:
    """Record something about the worker's own log in it: `Done`, once it is on disk."""

    kind: str
    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign the log as it is now; `rotate`: and close its journal file. `Done`."""

    rotate: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """Let what runs end, cut the rest, and then end: `Done`."""

    seconds: float


# --- a supervisor tells its worker --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What is asked without waiting and was not used yet, as `(hash, issuer, subject, approval, approved)`."""

    usable: tuple[tuple[OperationHash, str, str, ApprovalId, bool], ...]
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """Whether anybody looks at single records now."""

    records: bool


# --- both ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CancelKey:
    """A CancelRequest that named no session here; it may name one there: `Done`, whether it does or not."""

    pid: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """A session changed definitions of the connection's target."""

    connection: str


# --- answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """It is done."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """Columns are marked; these were not before."""

    new: tuple[Carried, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of a hold."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Open:
    """An approval that was asked for."""

    id: ApprovalId
    expires: Micros


@dataclass(frozen=True, slots=True)
class Claimed:
    """An approval that is used up now, if there was one."""

    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Words:
    """Why not, if at all."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Granting:
    """The leave, if there is one."""

    grant: Grant | None


@dataclass(frozen=True, slots=True)
class Described:
    """A worker's sessions, catalogs and log, as the control socket shows them."""

    sessions: tuple[object, ...]
    catalogs: tuple[object, ...]
    broken: str | None
    head: object
    file: int
    """Number of the journal file that is written to."""
    witnesses: tuple[object, ...]
    reached: int
    """Records that were seen outside."""
    refused: str | None
    """What a witness refuses."""


TO_SUPERVISOR = (
    Admit, Enter, Stands, Renewing, LoggedIn, TurnedAway, Held, Asked, Opened, Claim, Objection, GrantNow, WitnessSaid,
    Carry, EndHold, Weighed, Executed, Abandoned, Alarm, Left, Closed, Published, Skipped, CancelKey, CatalogChanged,
)  # fmt: skip
TO_WORKER = (
    Begin, Cut, Adopt, Describe, Heed, Append, Sign, Drain, Outstanding, Watched, CancelKey, CatalogChanged,
)  # fmt: skip
