"""Who is connected: what an agent proved to be, and the session that it has."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model.names import Micros, SessionId


@dataclass(frozen=True, slots=True)
class Principal:
    """Who an agent proved to be: the verified claims of its access token, never the token itself."""

    issuer: str
    subject: str
    token_id: str
    expires: Micros
    groups: tuple[str, ...] = ()
    owner: str | None = None
    development: bool = False
    issued: Micros | None = None
    client: str | None = None
    """The client that the token was issued to (`azp`)."""
    bound_to: str | None = None
    """The thumbprint of the TLS client certificate that the token is good with alone (`cnf`, `x5t#S256`)."""
    issuer_session: str | None = None
    """The issuer's own session behind the token (`sid`): what a back-channel logout names."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One agent session as the gateway sees it: the identity and path that every record of it carries."""

    id: SessionId
    principal: Principal
    connection: str
    target: str
    client_address: str
    user: str
    application: str
    started: Micros
    target_role: str = ""
    target_pid: int | None = None
