"""Value patterns as a last vote: an e-mail address, a card number, a national id, where nothing marked was expected.

For what is not proven clean by other votes: results of code that is trusted but not read, COPY that nobody could
describe, errors and notices. What the agent itself wrote in its statement or parameters tells it nothing. Numbers count
only with their check digits, so that ordinary ones pass. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_EMAIL = re.compile(rb"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_CARD = re.compile(rb"(?<![\d-])(?<!\d\.)[2-6]\d{3}(?:[ -]?\d){9,15}(?![\d-]|\.\d)")
_LEAST_CARD, _MOST_CARD = 13, 19
_SSN = re.compile(rb"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_NINO = re.compile(
    rb"(?<![A-Z0-9])(?!BG|GB|KN|NK|NT|TN|ZZ)(?![DFIQUV])[A-Z](?![DFIOQUV])[A-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![A-Z0-9])"
)
_NIR = re.compile(rb"(?<!\d)[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?!\d)")
_CPF = re.compile(rb"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)")
_DNI = re.compile(rb"(?<![A-Z0-9])[XYZ]?\d{7,8}-?[A-HJ-NP-TV-Z](?![A-Z0-9])")
_CODICE = re.compile(rb"(?<![A-Z0-9])[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![A-Z0-9])")
_LONGEST = 1 << 16
"""Bytes of a value that are looked at."""


def trips(value: bytes, own: bytes = b"") -> str:
    """Return what `value` seems to hold, in words; empty where that is nothing, or stands in `own` too."""
    head = value[:_LONGEST]
    for words, find in _FINDERS:
        if any(found not in own for found in find(head)):
            return words
    return ""


def _emails(value: bytes) -> Iterator[bytes]:
    if b"@" in value:
        yield from _EMAIL.findall(value)


def _cards(value: bytes) -> Iterator[bytes]:
    for match in _CARD.finditer(value):
        digits = [digit - 48 for digit in match[0] if 48 <= digit < 58]
        if _LEAST_CARD <= len(digits) <= _MOST_CARD and len(set(digits)) > 1 and _luhn(digits):
            yield match[0]


def _luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _ids(value: bytes) -> Iterator[bytes]:
    yield from _SSN.findall(value)
    yield from _NINO.findall(value)
    yield from _CODICE.findall(value)
    for pattern, holds in ((_NIR, _nir), (_CPF, _cpf), (_DNI, _dni)):
        yield from (match[0] for match in pattern.finditer(value) if holds(match[0]))


def _nir(found: bytes) -> bool:
    """France: 97 minus the number modulo 97; Corsica's letters stand for digits."""
    text = found.replace(b" ", b"").replace(b"2A", b"19").replace(b"2B", b"18")
    return len(text) == 15 and 97 - int(text[:13]) % 97 == int(text[13:])


def _cpf(found: bytes) -> bool:
    """Brazil: two check digits modulo 11."""
    digits = [digit - 48 for digit in found if 48 <= digit < 58]
    for length in (9, 10):
        total = sum(digit * weight for digit, weight in zip(digits, range(length + 1, 1, -1), strict=False))
        if total * 10 % 11 % 10 != digits[length]:
            return False
    return len(set(digits)) > 1


def _dni(found: bytes) -> bool:
    """Spain: a letter for the number modulo 23."""
    text = found.replace(b"-", b"")
    number = text[:-1].translate(bytes.maketrans(b"XYZ", b"012"))
    return len(number) == 8 and b"TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


_FINDERS: tuple[tuple[str, Callable[[bytes], Iterator[bytes]]], ...] = (
    ("an e-mail address", _emails),
    ("a card number", _cards),
    ("a national id", _ids),
)
