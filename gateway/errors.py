"""The one small tree of errors. Each says whose fault it is; a session's border translates them into wire errors once.

Messages are for the person who must act: one line that says what is wrong and what to do, without secrets or tokens.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Root of every error of our own."""


class ClientFault(GatewayError):
    """The client broke the protocol or gave bad input; `sqlstate` is what it is told."""

    def __init__(self, message: str, sqlstate: str = "08P01") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class LoginRefused(ClientFault):
    """The client may not log in; `reason` is for the record, the message is all that the client learns."""

    def __init__(self, message: str, sqlstate: str, reason: str) -> None:
        super().__init__(message, sqlstate)
        self.reason = reason


class TargetFault(GatewayError):
    """The target could not be reached, refused us, or broke the protocol."""


class IssuerFault(GatewayError):
    """The identity issuer could not be reached or gave an answer that cannot be trusted."""


class EvidenceFault(GatewayError):
    """A record could not be made durable; nothing may be forwarded."""


class ConfigurationFault(GatewayError):
    """The configuration, a file it names or the environment is wrong; the message names the key."""


class OurBug(GatewayError):
    """A state that this code promises never to reach."""
