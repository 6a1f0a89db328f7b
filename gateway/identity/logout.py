"""The issuer's back-channel logout (OpenID Connect Back-Channel Logout 1.0): it calls, and sessions end at once.

It promises that only a logout token that the issuer signed for a client of ours does anything, that what it names is
struck on disk before the answer, and that whoever asks otherwise learns nothing. One POST a connection; the token is
never kept or logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from gateway.errors import GatewayError, IssuerFault, LoginRefused
from gateway.identity.claims import Logout
from gateway.identity.http_server import Request, Response
from gateway.identity.verifier import TokenVerifier

PATH = "/backchannel-logout"
logger = logging.getLogger(__name__)


class LogoutEndpoint:
    """Answers the issuer. `strike` makes a logout true and returns once it is; `is_ours` knows our clients' names."""

    def __init__(
        self, verifier: TokenVerifier, is_ours: Callable[[str], bool], strike: Callable[[Logout], Awaitable[None]]
    ) -> None:
        self._verifier, self._is_ours, self._strike = verifier, is_ours, strike

    async def respond(self, request: Request) -> Response:
        """Answer one request, as §2.8 says: 200 once the logout is done, 400 for what is no logout."""
        if request.path.partition("?")[0] != PATH:
            return _answer(404, "not_found")
        if request.method != "POST":
            return _answer(405, "invalid_request")
        token = _token(request)
        if token is None:
            return _answer(400, "invalid_request")
        try:
            found = await self._verifier.verify_logout(token)
            if not any(self._is_ours(client) for client in found.audience):
                logger.warning("a back-channel logout was refused: it is not meant for a client of this gateway")
                return _answer(400, "invalid_request")
            await self._strike(found)
        except LoginRefused as refusal:
            logger.warning("a back-channel logout was refused: %s", refusal.reason)
            return _answer(400, "invalid_request")
        except IssuerFault as fault:
            logger.warning("a back-channel logout could not be checked: %s", fault)
            return _answer(503, "temporarily_unavailable")
        except GatewayError as fault:
            logger.error("a back-channel logout could not be done: %s", fault)  # noqa: TRY400  no traceback for a full disk
            return _answer(503, "temporarily_unavailable")
        return Response(200, b"{}")


def _token(request: Request) -> str | None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    try:
        form = parse_qs(request.body.decode("ascii"), max_num_fields=20)
    except ValueError:
        return None
    found = form.get("logout_token", [])
    return found[0] if len(found) == 1 else None


def _answer(status: int, error: str) -> Response:
    return Response(status, json.dumps({"error": error}).encode("ascii"))
