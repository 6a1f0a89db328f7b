"""Every table and key of `gateway.toml`, with its default: pydantic models, frozen, unknown keys refused.

A value whose feature is not built yet is refused here by its key. Durations are microseconds and sizes bytes once
read. Nothing here reads a file or the environment; `gateway.settings.load` does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway import model
from gateway.approval.signatures import BadSignature, read_key
from gateway.control.operators import Operator
from gateway.policy.own import faults
from gateway.settings.approvals import ApprovalsTable
from gateway.settings.outside import RetentionTable, SinkTable, TimestampTable, WitnessTable
from gateway.settings.recipients import auditors
from gateway.settings.rules import RuleTable, TestTable
from gateway.settings.units import Endpoint, parse_name
from gateway.settings.values import (
    MINUTE,
    SECOND,
    Agent,
    Duration,
    Listen,
    Name,
    PositiveDuration,
    Reference,
    Size,
    Table,
    Target,
    age_key,
    function,
    not_built,
    positive,
    schema,
    setting,
    wrong,
)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class GatewayTable(Table):
    """`[gateway]`: name, places, processes."""

    name: Name = "gw-1"
    state_dir: Path = Path("state")
    control_socket: Path = Path("state/control.sock")
    workers: int = Field(default=1, ge=1, le=64)


class PostgresTable(Table):
    """`[postgres]`: the listener for agents."""

    listen: Listen = Endpoint("127.0.0.1", 6432)
    tls_cert: Path = Path("state/tls/cert.pem")
    tls_key: Path = Path("state/tls/key.pem")
    oauth_listen: Listen | None = None
    client_ca: Path | None = None


class SshTable(Table):
    """`[ssh]`: the SSH listener, not built yet."""

    listen: Listen | None = None


class IdentityTable(Table):
    """`[identity]`: whose tokens are believed."""

    issuer: str | None = None
    audience: str = Field(default="hoop-gateway", min_length=1)
    groups_claim: str = Field(default="groups", min_length=1)
    issuer_grace: Duration = 5 * MINUTE
    client_id: str = Field(default="hoop-gateway", min_length=1)
    client_secret: Reference | None = None
    introspection: Literal["required", "off"] = "required"
    introspect_every: PositiveDuration = 5 * SECOND
    reuse: Literal["host", "once", "any"] = "host"
    binding: Literal["optional", "required"] = "optional"
    logout_listen: Listen | None = None
    realm: Path | None = None
    development: bool = False

    @model_validator(mode="after")
    def _issuer_fits(self) -> IdentityTable:
        if self.realm is not None and not self.development:
            raise wrong("realm", "the realm file is for the development issuer; Keycloak imports it itself")
        if (self.client_secret or "").startswith("hashicorp:"):
            raise wrong("client_secret", "hashicorp: is for the passwords of connections; use vault:, env: or file:")
        if self.issuer is None:
            if not self.development:
                raise wrong("issuer", "missing; name the OIDC issuer, or set identity.development = true")
            return self
        try:
            url = urlsplit(self.issuer)
            loopback = url.hostname in _LOOPBACK and url.port is not None
        except ValueError:
            raise wrong("issuer", "write a URL such as https://idp.example/realms/prod") from None
        if (
            url.username is not None
            or url.query
            or url.fragment
            or url.scheme not in {"http", "https"}
            or not url.hostname
        ):
            raise wrong("issuer", "write a URL such as https://idp.example/realms/prod")
        if self.development and not (loopback and url.scheme == "http"):
            raise wrong("issuer", "the development issuer is loopback only: http://127.0.0.1:PORT/realms/hoop")
        if url.scheme != "https" and url.hostname not in _LOOPBACK:
            raise wrong("issuer", "https only, except on this machine")
        return self


class EvidenceTable(Table):
    """`[evidence]`: how results are kept."""

    results: Literal["grouped", "durable"] = "grouped"
    payload_limit: Size = 64 * 2**10
    originals: str = "first:1000"
    literals: Literal["seal", "keep"] = "seal"
    recipients: Annotated[tuple[str, ...], AfterValidator(auditors)] = ()
    witness: tuple[WitnessTable, ...] = ()
    sink: tuple[SinkTable, ...] = ()
    timestamp: TimestampTable | None = None
    retention: RetentionTable = RetentionTable()

    @model_validator(mode="after")
    def _keepers_differ(self) -> EvidenceTable:
        if len({entry.key.name for entry in self.witness}) != len(self.witness):
            raise wrong("witness", "the same name stands there twice")
        if len({str(entry.file or entry.directory) for entry in self.sink}) != len(self.sink):
            raise wrong("sink", "the same place stands there twice")
        return self

    @model_validator(mode="after")
    def _originals_are_understood(self) -> EvidenceTable:
        if not re.fullmatch(r"all|none|first:[1-9]\d{0,9}", self.originals, re.ASCII):
            raise wrong("originals", "one of all, none, first:N")
        return self

    @property
    def originals_kept(self) -> int | None:
        """Rows of each result whose originals are kept; None: of all. Nobody could open them without recipients."""
        if self.originals == "none" or not self.recipients:
            return 0
        return None if self.originals == "all" else int(self.originals.removeprefix("first:"))


class VaultTable(Table):
    """`[vault]`: who besides the gateway can open the embedded vault."""

    recovery: tuple[Annotated[str, AfterValidator(age_key)], ...] = ()


class LimitsTable(Table):
    """`[limits]`: what one client may cost."""

    statement: Size = 2**20
    message: Size = 64 * 2**20 + 2**10
    startup: Size = 10_000
    login: PositiveDuration = 10 * SECOND
    connections: Annotated[int, AfterValidator(positive)] = 200
    connections_per_subject: Annotated[int, AfterValidator(positive)] = 100
    buffered: Size = 256 * 2**20
    token: Size = 16 * 2**10


def _signer(value: str) -> str:
    try:
        read_key(value)
    except BadSignature as fault:
        raise ValueError(str(fault)) from None
    return value.strip()


class OperatorTable(Table):
    """`[[operator]]`: a person who watches or decides."""

    name: Name
    uid: Annotated[int, Field(ge=0)] | None = None
    subject: str | None = None
    groups: tuple[str, ...] = ()
    groups_from: Literal["file", "token"] = "file"
    roles: tuple[Literal["watch", "decide", "audit", "admin"], ...] = ("watch",)
    signers: tuple[Annotated[str, AfterValidator(_signer)], ...] = ()

    @model_validator(mode="after")
    def _can_be_recognised(self) -> OperatorTable:
        if self.groups_from == "token" and self.subject is None:
            raise wrong("groups_from", "token needs a subject: the groups come with the login of that subject")
        if self.groups_from == "token" and self.groups:
            raise wrong("groups", 'with groups_from = "token" the groups come from the login alone')
        if self.uid is None and self.subject is None:
            raise wrong("uid", "missing; without it (or subject) nobody is recognised as this operator")
        return self


class MaskTable(Table):
    """One entry of `mask`: a column, and how its values look."""

    column: str
    style: model.MaskStyle = model.MaskStyle.REDACT

    @model_validator(mode="after")
    def _names_a_column(self) -> MaskTable:
        parse_name(self.column, 3, "schema.table.column")
        return self

    def mark(self) -> model.Mark:
        """Return the mark, names folded as PostgreSQL folds them."""
        schema, relation, column = parse_name(self.column, 3, "schema.table.column")
        return model.Mark(schema, relation, column, self.style)


def _mask(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class ConnectionTable(Table):
    """`[[connection]]`: one named way to one target."""

    name: Name
    kind: Literal["postgres", "ssh"] = "postgres"
    target: Target
    username: str = Field(min_length=1)
    password: Reference | None = None
    agents: tuple[Agent, ...] = ()
    search_path: tuple[Annotated[str, AfterValidator(schema)], ...] = ("public",)
    mask: tuple[Annotated[MaskTable, BeforeValidator(_mask)], ...] = ()
    policy: Literal["standard", "read-only", "migrations", "observe"] = "standard"
    access: Literal["read-write", "read-only"] = "read-write"
    statement_timeout: PositiveDuration | None = None
    hold: Literal["wait", "refuse"] = "wait"
    functions: tuple[Annotated[str, AfterValidator(function)], ...] = ()
    settings: tuple[Annotated[str, AfterValidator(setting)], ...] = ()
    rule: tuple[RuleTable, ...] = ()
    test: tuple[TestTable, ...] = ()

    @model_validator(mode="after")
    def _is_built(self) -> ConnectionTable:
        if self.kind == "ssh":
            raise wrong("kind", "ssh is not built yet; use postgres")
        marks = [(mark.schema, mark.relation, mark.column) for mark in self.marks()]
        if len(set(marks)) != len(marks):
            raise wrong("mask", "the same column stands there twice")
        for place, key, words in faults(self.policy, self.rules()):
            raise wrong(f"rule.{place}.{key}", words)
        return self

    def marks(self) -> tuple[model.Mark, ...]:
        """Return the marked columns."""
        return tuple(entry.mark() for entry in self.mask)

    def rules(self, where: str = "") -> tuple[model.ConnectionRule, ...]:
        """Return the rules, each with its place in the table `where`."""
        return tuple(entry.rule(f"{where}.rule.{place}") for place, entry in enumerate(self.rule))

    def tests(self, where: str) -> tuple[model.ConnectionTest, ...]:
        """Return what the rules should say, each with its place in the table `where`."""
        return tuple(entry.test(f"{where}.test.{place}") for place, entry in enumerate(self.test))


class Settings(BaseSettings):
    """The whole configuration. Made by `gateway.settings.load`; every path in it is then absolute."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    gateway: GatewayTable = GatewayTable()
    postgres: PostgresTable = PostgresTable()
    ssh: Annotated[SshTable | None, not_built("the SSH listener is")] = None
    identity: IdentityTable
    approvals: ApprovalsTable = ApprovalsTable()
    evidence: EvidenceTable = EvidenceTable()
    vault: VaultTable = VaultTable()
    limits: LimitsTable = LimitsTable()
    operator: tuple[OperatorTable, ...] = ()
    connection: tuple[ConnectionTable, ...] = ()
    _file: Path = PrivateAttr(Path("gateway.toml"))
    _text: bytes = PrivateAttr(b"")

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.identity.binding == "required" and self.postgres.client_ca is None:
            raise wrong("identity.binding", "required, but without postgres.client_ca no client can show a certificate")
        if self.approvals.assurance == "uid" and not self.identity.development:
            raise wrong("approvals.assurance", "uid is for identity.development = true only")
        counts = [rule.name for entry in self.connection for rule in entry.rules() if rule.rows_over or rule.bytes_over]
        if self.gateway.workers > 1 and counts:
            words = f"rule {counts[0]}: rows_over and bytes_over with more than one worker are not built yet; use 1"
            raise wrong("gateway.workers", words)
        for key, names in (
            ("connection.name", [entry.name for entry in self.connection]),
            ("operator.name", [entry.name for entry in self.operator]),
            ("operator.uid", [entry.uid for entry in self.operator if entry.uid is not None]),
            ("operator.subject", [entry.subject for entry in self.operator if entry.subject is not None]),
        ):
            if len(set(names)) != len(names):
                raise wrong(key, "the same one stands there twice")
        return self

    def written_in(self, file: Path, text: bytes) -> Settings:
        """Note the file, for telling where a rule is written, and what it held, for other processes to go by."""
        self._file, self._text = file, text
        return self

    @property
    def source(self) -> tuple[Path, bytes]:
        """The file that this was read from, and what it held then."""
        return self._file, self._text

    @property
    def assurance(self) -> str:
        """The assurance in force: as set, else `uid` in development and `oidc` otherwise."""
        return self.approvals.assurance or ("uid" if self.identity.development else "oidc")

    @property
    def evidence_dir(self) -> Path:
        """The directory that `hoop-gateway evidence` commands take."""
        return self.gateway.state_dir / "evidence"

    @property
    def vault_dir(self) -> Path:
        """The directory of the embedded vault."""
        return self.gateway.state_dir / "vault"

    def operators(self) -> tuple[Operator, ...]:
        """Return the people as the control socket knows them."""
        return tuple(
            Operator(
                name=entry.name,
                uid=entry.uid,
                subject=entry.subject,
                groups=tuple(group.removeprefix("/") for group in entry.groups),
                roles=entry.roles,
                groups_from=entry.groups_from,
                signers=entry.signers,
            )
            for entry in self.operator
        )

    def connections(self) -> tuple[model.Connection, ...]:
        """Return the connections as the stages know them."""
        return tuple(
            model.Connection(
                name=entry.name,
                target=entry.target,
                username=entry.username,
                password=entry.password,
                agents=entry.agents,
                search_path=entry.search_path,
                marks=entry.marks(),
                policy=entry.policy,
                access=entry.access,
                statement_timeout=None if entry.statement_timeout is None else max(1, entry.statement_timeout // 1000),
                hold=entry.hold,
                functions=entry.functions,
                settings=entry.settings,
                reviewers=self.approvals.reviewers,
                rules=entry.rules(f"{self._file.name}: connection.{place}"),
                tests=entry.tests(f"{self._file.name}: connection.{place}"),
            )
            for place, entry in enumerate(self.connection)
        )
