"""Time stamps of RFC 3161: what a time-stamping authority (TSA) says of a checkpoint, and when.

Promises that a stamp is believed only where it is over exactly the checkpoint as its log signed it (the first five
lines of the note), by a certificate for time stamping that leads to one of those given; certificates have to be valid
at the stamp's time, not now. Needs the extra `rfc3161` (rfc3161-client), imported here alone. Pure but for the nonce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509

from gateway.errors import ConfigurationFault
from gateway.evidence.entry import Malformed
from gateway.evidence.note import parse_note
from gateway.model import Micros

REQUEST = "application/timestamp-query"
LIMIT = 64 << 10
"""Bytes of an answer, at most: a stamp with its authority's certificates has some six thousand."""
PREFIX = "rfc3161:"
"""How the name of an authority begins in records, so that no witness has the same."""
_LINES = 5
_SINCE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to an authority; its answer must name the same `nonce`."""

    body: bytes
    nonce: int | None


def must_have_client() -> None:
    """Raise `ConfigurationFault` where the extra is not installed."""
    try:
        import rfc3161_client
    except ImportError:
        raise ConfigurationFault("evidence.timestamp: needs rfc3161-client: pip install 'hoop-tui[rfc3161]'") from None
    del rfc3161_client


def stamped(note: bytes) -> bytes:
    """Return what of a note is stamped: the checkpoint and the signature of its log, without cosignatures.

    A witness's line comes later into the same file. Raises `Malformed`.
    """
    parse_note(note)
    return b"".join(note.splitlines(keepends=True)[:_LINES])


def request(note: bytes) -> Request:
    """Return what asks an authority for a stamp of `note`, with its certificates. Raises `Malformed`."""
    from rfc3161_client import TimestampRequestBuilder
    from rfc3161_client.base import HashAlgorithm

    made = TimestampRequestBuilder().data(stamped(note)).hash_algorithm(HashAlgorithm.SHA256)
    asked = made.cert_request(cert_request=True).build()
    return Request(asked.as_bytes(), asked.nonce)


def check(stamp: bytes, note: bytes, certificates: Sequence[x509.Certificate], nonce: int | None = None) -> Micros:
    """Return when `stamp`, an authority's answer in DER, says that `note` was there. `nonce`: the request's.

    Raises `Malformed`, in words of ours: what an authority writes is not repeated.
    """
    from rfc3161_client import VerifierBuilder, decode_timestamp_response
    from rfc3161_client.errors import VerificationError

    if len(stamp) > LIMIT:
        raise Malformed("the stamp is too long")
    try:
        answer = decode_timestamp_response(stamp)
        status, at = answer.status, answer.tst_info.gen_time if answer.status == 0 else _SINCE
    except (ValueError, OverflowError):
        raise Malformed("it is no answer of RFC 3161") from None
    if status != 0:
        raise Malformed(f"no stamp was given (status {status})")
    builder = VerifierBuilder(roots=list(certificates), nonce=nonce)
    try:
        builder.build().verify_message(answer, stamped(note))
    except (VerificationError, ValueError, TypeError) as fault:
        raise Malformed(f"the stamp does not hold: {_why(fault)}") from None
    return Micros((at.astimezone(UTC) - _SINCE) // timedelta(microseconds=1))


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read certificates in PEM. Raises `Malformed` where there is none, or something else between them."""
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise Malformed("it holds no certificates in PEM") from None
    if b"PRIVATE KEY" in pem:
        raise Malformed("it holds a private key; give the authority's certificates alone")
    return found


_REASONS = {
    "Nonce mismatch": "it answers another request",
    "Mismatch between messages": "it is over something else",
    "EKU": "its certificate is not for time stamping",
}
"""The library's reasons, in our words; whatever else it says is that the signature or its certificates do not hold."""


def _why(fault: Exception) -> str:
    told = str(fault)
    return next((why for word, why in _REASONS.items() if word in told), "it does not lead to the certificates given")
