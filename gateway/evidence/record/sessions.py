"""Records of who came in, and how their sessions began and ended."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.evidence.entry import parse_time
from gateway.evidence.values import name, text
from gateway.model import (
    Draft,
    Json,
    Principal,
    SessionId,
    SessionInfo,
    format_time,
)


def session_fields(session: SessionInfo) -> dict[str, Json]:
    """Return the identity and path that every entry of a session carries."""
    principal = session.principal
    fields: dict[str, Json] = {
        "sid": session.id,
        "iss": name(principal.issuer),
        "sub": name(principal.subject),
        "jti": name(principal.token_id),
        "conn": name(session.connection),
        "tgt": name(session.target),
    }
    if principal.development:
        fields["dev"] = True
    return fields


def login(session: SessionInfo, outcome: str = "ok", *, renewal: bool = False) -> Draft:
    """Return an agent's accepted login; `renewal`: its live session goes on with the new token that it names."""
    fields: dict[str, Json] = {"addr": name(session.client_address), "outcome": outcome}
    if renewal:
        fields["reason"] = "renewal"
    return Draft("login", session, fields=fields)


def login_refused(
    *, client_address: str, connection: str, reason: str, subject: str | None = None, issuer: str | None = None
) -> Draft:
    """Return a refused login. `connection` is what the stranger asked for; `subject` only where its token was valid."""
    fields: dict[str, Json] = {"addr": name(client_address), "outcome": "refused", "reason": name(reason)}
    fields["conn"] = name(connection)
    if subject is not None:
        fields["sub"] = name(subject)
    if issuer is not None:
        fields["iss"] = name(issuer)
    return Draft("login_refused", fields=fields)


def operator_login(issuer: str, subject: str, token_id: str, operator: str, address: str) -> Draft:
    """Return an operator's login: who they are at the issuer and here; `address` is their seat at the socket."""
    fields: dict[str, Json] = {
        "iss": name(issuer), "sub": name(subject), "jti": name(token_id), "addr": name(address), "outcome": "ok",
        "reason": "operator", "operator": name(operator),
    }  # fmt: skip
    return Draft("login", fields=fields)


def operator_logout(issuer: str, subject: str, operator: str, address: str) -> Draft:
    """Return that an operator ended their login."""
    fields: dict[str, Json] = {
        "iss": name(issuer), "sub": name(subject), "addr": name(address), "outcome": "ended", "reason": "operator",
        "operator": name(operator),
    }  # fmt: skip
    return Draft("login", fields=fields)


def session_start(session: SessionInfo) -> Draft:
    """Return the start of a session, n = 0: the path and identity of everything that follows in it."""
    principal = session.principal
    fields: dict[str, Json] = {
        "addr": name(session.client_address),
        "owner": None if principal.owner is None else name(principal.owner),
        "role": name(session.target_role),
        "tpid": session.target_pid,
        "exp": format_time(principal.expires),
        "started": format_time(session.started),
    }
    payload: dict[str, Json] = {
        "user": text(session.user),
        "application": text(session.application),
        "groups": [text(group) for group in principal.groups],
    }
    return Draft("session_start", session, 0, fields, payload)


def session_info(entry: Mapping[str, Json], payload: Mapping[str, Json]) -> SessionInfo:
    """Return the session that a `session_start` entry began; the reverse of `session_start`."""

    def word(key: str) -> str:
        return str(entry.get(key) or "")

    owner, groups, target_pid = entry.get("owner"), payload.get("groups"), entry.get("tpid")
    return SessionInfo(
        id=SessionId(word("sid")),
        principal=Principal(
            issuer=word("iss"),
            subject=word("sub"),
            token_id=word("jti"),
            expires=parse_time(word("exp")),
            groups=tuple(str(group) for group in groups) if isinstance(groups, list) else (),
            owner=owner if isinstance(owner, str) else None,
            development=entry.get("dev") is True,
        ),
        connection=word("conn"),
        target=word("tgt"),
        client_address=word("addr"),
        user=str(payload.get("user") or ""),
        application=str(payload.get("application") or ""),
        started=parse_time(word("started")),
        target_role=word("role"),
        target_pid=target_pid if isinstance(target_pid, int) else None,
    )


def session_end(
    session: SessionInfo, *, reason: str, statements: int, denied: int, held: int, rows: int, n: int | None = None
) -> Draft:
    """Return the end of a session with its counts; `reason` is `lost` where a crash ended it."""
    counts: dict[str, Json] = {"statements": statements, "denied": denied, "held": held, "rows": rows}
    return Draft("session_end", session, n, {"reason": name(reason), **counts})


def kill(session: SessionInfo, by: str, reason: str) -> Draft:
    """Return an operator's order to cut a session."""
    return Draft("kill", session, fields={"by": name(by)}, payload={"reason": text(reason)})
