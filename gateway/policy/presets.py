"""The presets as data: every line of the standard is a named rule over acts (INTERFACE.md, "The preset policy").

An act that no rule names is denied by `standard/not-listed`: these are allow-lists. `leaks` says of a rule that what it
stops could let a marked value out unmasked, so that `observe` keeps it on a connection with marks. `read-only` and
`migrations` are `standard` with some lines changed; a changed line is named after its preset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gateway.model import VerdictKind
from gateway.policy.words import words

ALLOW, APPROVE, DENY, MASK = VerdictKind.ALLOW, VerdictKind.APPROVE, VerdictKind.DENY, VerdictKind.MASK


@dataclass(frozen=True, slots=True)
class Rule:
    """One named line of a policy: the acts it matches, what follows, and how it is told to people."""

    name: str
    action: VerdictKind
    acts: frozenset[str]
    says: str
    """The fact that matched, in one sentence; `{act}` and `{target}` are filled in."""
    hint: str = ""
    leaks: bool = False

    @property
    def effect(self) -> bool:
        """No line of a preset holds what has run."""
        return False

    @property
    def short(self) -> str:
        """The name without its preset: `drop`."""
        return self.name.partition("/")[2]

    @property
    def where(self) -> str:
        """Where the rule is written."""
        return f"preset {self.name.partition('/')[0]}"


def _rule(name: str, action: VerdictKind, acts: str, says: str, hint: str = "", *, leaks: bool = False) -> Rule:
    return Rule(f"standard/{name}", action, frozenset(acts.split()), says, hint, leaks)


_APPROVE_HINT = "A person decides; the statement waits until then."
_ASK = "Ask an operator of this gateway for a way to do this."
_WHERE = "Add a WHERE that restricts the rows: one that compares a column of the table with a value."

STANDARD: tuple[Rule, ...] = (
    # allowed
    _rule("select", ALLOW, "select for-update", "It reads {target}."),
    _rule("catalog-read", ALLOW, "catalog-read", "It reads the catalog relation {target}."),
    _rule("insert", ALLOW, "insert", "It inserts into {target}."),
    _rule("copy-in", ALLOW, "copy-in", "It copies rows into {target}."),
    _rule("copy-out", ALLOW, "copy-out", "It copies rows of {target} to the client."),
    _rule("update", ALLOW, "update", "It updates {target} with a WHERE that restricts."),
    _rule("transaction", ALLOW, "transaction", "It controls the transaction."),
    _rule("setting", ALLOW, "set show reset", "It sets or shows {target}, a listed setting."),
    _rule("explain", ALLOW, "explain", "It explains a statement."),
    _rule("cursor", ALLOW, "declare fetch move close", "It works with a cursor."),
    _rule("prepare", ALLOW, "prepare execute deallocate", "It works with a prepared statement."),
    _rule("listen", ALLOW, "listen unlisten", "It listens to notifications."),
    _rule("discard", ALLOW, "discard", "It discards session state."),
    _rule("function", ALLOW, "function nextval", "It calls {target}, a listed function."),
    # approved by a person
    _rule("user-function", APPROVE, "user-function",
          "It calls {target}, which is not among the connection's functions.",
          _APPROVE_HINT + " The connection's `functions` may list it.", leaks=True),
    _rule("rewrite-rule", APPROVE, "rewrite-rule", "A rewrite rule of {target} does more than the statement says.",
          _APPROVE_HINT, leaks=True),
    _rule("user-type", APPROVE, "user-type", "It casts to {target}, whose input function may do anything.",
          _APPROVE_HINT, leaks=True),
    _rule("marked-write", APPROVE, "marked-write", "A write reads or sets the marked column {target}.",
          _APPROVE_HINT, leaks=True),
    _rule("delete", APPROVE, "delete", "It deletes from {target} with a WHERE that restricts.", _APPROVE_HINT),
    _rule("merge", APPROVE, "merge merge-insert merge-update merge-delete", "It merges into {target}.", _APPROVE_HINT),
    _rule("create", APPROVE, "create", "It creates {target}.", _APPROVE_HINT),
    _rule("alter", APPROVE, "alter", "It alters {target}.", _APPROVE_HINT),
    _rule("create-as", APPROVE, "create-as", "It creates {target} from a query.", _APPROVE_HINT),
    _rule("maintenance", APPROVE, "maintenance", "It is maintenance ({target}).", _APPROVE_HINT),
    _rule("notify", APPROVE, "notify", "It notifies the channel {target}.", _APPROVE_HINT, leaks=True),
    _rule("call", APPROVE, "call", "It calls the procedure {target}.", _APPROVE_HINT, leaks=True),
    _rule("sequence", APPROVE, "sequence", "It sets a sequence ({target}).", _APPROVE_HINT),
    # denied
    _rule("drop", DENY, "drop drop-database", "It drops {target}.", _ASK),
    _rule("truncate", DENY, "truncate", "It truncates {target}.", _ASK),
    _rule("delete-all", DENY, "delete-all", "It deletes from {target} without a WHERE that restricts.", _WHERE),
    _rule("update-all", DENY, "update-all", "It updates {target} without a WHERE that restricts.", _WHERE),
    _rule("merge-all", DENY, "merge-all", "It merges into {target} by a condition that does not restrict.", _WHERE),
    _rule("server-file", DENY, "server-file", "It reads or writes a file on the server ({target}).",
          "Use COPY … FROM STDIN or TO STDOUT.", leaks=True),
    _rule("server-program", DENY, "server-program", "It runs a program on the server.",
          "Use COPY … FROM STDIN or TO STDOUT.", leaks=True),
    _rule("load", DENY, "load", "It loads a library into the server.", _ASK, leaks=True),
    _rule("do", DENY, "do", "DO runs code that cannot be judged.", "Send its statements one by one.", leaks=True),
    _rule("create-function", DENY, "create-function", "It creates or alters a function or procedure.", _ASK,
          leaks=True),
    _rule("create-trigger", DENY, "create-trigger", "It creates, alters or switches a trigger.", _ASK, leaks=True),
    _rule("create-rule", DENY, "create-rule", "It creates, alters or switches a rewrite rule.", _ASK, leaks=True),
    _rule("create-extension", DENY, "create-extension", "It creates or alters an extension.", _ASK, leaks=True),
    _rule("create-cast", DENY, "create-cast", "It creates a cast or transform.", _ASK, leaks=True),
    _rule("create-operator", DENY, "create-operator", "It creates an operator or its class.", _ASK, leaks=True),
    _rule("create-type", DENY, "create-base-type", "It creates a base type, language or access method.", _ASK,
          leaks=True),
    _rule("reaching-function", DENY, "reaching-function",
          "{target} reaches files, other servers or other sessions, or reveals what is not the agent's.",
          _ASK, leaks=True),
    _rule("query-function", DENY, "query-function", "{target} runs a query text that cannot be judged.",
          "Send the query itself.", leaks=True),
    _rule("builtin-function", DENY, "builtin-function", "{target} is not on the list of functions that may run.",
          _ASK, leaks=True),
    _rule("role", DENY, "role", "It creates, alters or uses a role, or changes an owner.", _ASK),
    _rule("grant", DENY, "grant", "It changes privileges.", _ASK),
    _rule("set-role", DENY, "set-role", "It changes the role of the session.", _ASK),
    _rule("alter-system", DENY, "alter-system", "It changes the server's or a database's configuration.", _ASK,
          leaks=True),
    _rule("setting-not-listed", DENY, "set-not-listed set-computed show-not-listed",
          "{target} is not among the settings that may be set or shown, or its value is computed.",
          "The connection's `settings` may list it.", leaks=True),
    _rule("pinned-setting", DENY, "set-pinned", "{target} is pinned for this connection.",
          "It keeps its configured value.", leaks=True),
    _rule("read-only-access", DENY, "set-read-write", "The connection is read-only.", ""),
    _rule("password-table", DENY, "password-table", "{target} holds passwords or raw storage.", _ASK, leaks=True),
    _rule("catalog-not-listed", DENY, "catalog-not-listed",
          "{target} is not among the catalog relations that may be read.", _ASK, leaks=True),
    _rule("catalog-write", DENY, "catalog-write", "It writes to the catalog relation {target}.", _ASK, leaks=True),
    _rule("two-phase", DENY, "two-phase", "Two-phase commit leaves what nobody watches.", "Use COMMIT."),
    _rule("owned", DENY, "owned", "It drops or reassigns all that a role owns.", _ASK),
    _rule("foreign", DENY, "foreign", "It makes or changes a way to a foreign server.", _ASK, leaks=True),
    _rule("row-policy", DENY, "row-policy", "It changes row-level security.", _ASK, leaks=True),
    _rule("replication", DENY, "replication", "It changes what is replicated.", _ASK, leaks=True),
    _rule("server", DENY, "server", "It changes databases, tablespaces or the server as a whole.", _ASK),
    _rule("masked-value", DENY, "masked-value",
          "It would put a masked value, as this gateway shows it, over the original in {target}.",
          "Leave the column out of the write, or write a value that was not read from here.", leaks=True),
    _rule("copy-out-marked", DENY, "copy-out-marked",
          "Its data holds the marked column {target} and cannot be masked in that form.",
          "Leave out ENCODING and unusual options, or use SELECT: its result is masked.", leaks=True),
    _rule("temporary-name", DENY, "temporary-name", "A temporary object named {target} would hide what stands there.",
          "Choose another name.", leaks=True),
    _rule("not-judged-together", DENY, "not-judged-together",
          "A later statement of the string depends on {target} before it.", "Send the statements one by one.",
          leaks=True),
    _rule("not-listed", DENY, "not-listed", "{target} stands in no row of the policy.", _ASK, leaks=True),
)  # fmt: skip
"""`standard`. The strictest match wins; among equals the first line."""

NOT_UNDERSTOOD = _rule("not-understood", DENY, "", "It cannot be understood: {target}.",
                       "Send it in smaller or simpler statements.", leaks=True)  # fmt: skip
MASKED = _rule("masked", MASK, "", "Its result holds values from {target}.")
SYNTAX_ERROR = _rule("syntax-error", DENY, "", "{target}")
UNKNOWN_NAME = _rule("unknown-name", DENY, "", "{target}")
FAILED_TRANSACTION = _rule("failed-transaction", ALLOW, "", "The target itself refuses it: its transaction has failed.")
EMPTY = _rule("empty", ALLOW, "", "It holds no statement.")

_WRITES = words(
    """
    insert copy-in update delete merge merge-insert merge-update merge-delete marked-write rewrite-rule create alter
    create-as maintenance notify sequence nextval for-update
    """
)
"""What a session that only reads never does; row locks and nextval are among what PostgreSQL itself refuses there."""


def _read_only() -> Iterator[Rule]:
    """`standard`, with every write, definition, maintenance and NOTIFY denied."""
    hint = "This connection only reads."
    for rule in STANDARD:
        if rule.action is DENY or not rule.acts & _WRITES:
            yield rule
            continue
        if rule.acts - _WRITES:
            yield replace(rule, acts=rule.acts - _WRITES)
            continue
        yield replace(rule, name=f"read-only/{rule.short}", action=DENY, hint=hint)
    yield Rule("read-only/for-update", DENY, frozenset({"for-update"}), "It locks the rows that it reads.", hint)
    yield Rule("read-only/nextval", DENY, frozenset({"nextval"}), "It advances a sequence ({target}).", hint)


def _migrations() -> Iterator[Rule]:
    """`standard`, with DROP by approval; databases and tablespaces are no part of a migration."""
    for rule in STANDARD:
        if rule.short != "drop":
            yield rule
            continue
        yield replace(rule, name="migrations/drop", action=APPROVE, acts=frozenset({"drop"}), hint=_APPROVE_HINT)
        yield replace(rule, name="migrations/drop-database", acts=frozenset({"drop-database"}))


PRESETS: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {"standard": STANDARD, "read-only": tuple(_read_only()), "migrations": tuple(_migrations()), "observe": STANDARD}
)
"""The lines of each preset. `observe` has those of `standard`: what they say is what it records."""

NEVER_RELAXED = words(
    """
    server-file server-program load reaching-function query-function do role grant set-role alter-system password-table
    catalog-write pinned-setting read-only-access copy-out-marked temporary-name not-judged-together not-listed
    """
)
"""Lines that no rule of a connection can relax: server files and programs, roles and password tables, pinned settings,
what is not understood, and the ways around masking. Some lead there: ALTER SYSTEM names programs, a write to the
catalog makes roles, DO and query functions run a text that nobody understood."""


def line_of(preset: str, name: str) -> Rule | None:
    """Find the line that `name` (`standard/drop`, `migrations/drop`) means in `preset`; None where there is none.

    A line that a preset has changed is found under its name in `standard` too.
    """
    lines = PRESETS[preset]
    prefix, _, short = name.partition("/")
    exact = [line for line in lines if line.name == name]
    known = [line for line in lines if line.short == short and prefix in {"standard", preset}]
    return next(iter((*exact, *known)), None)
