"""A program of its own: a libpq 18 client that gets its token from a hook, as programs with a flow of their own do.

`python libpq_oauth.py DSN`, the token in HOOK_TOKEN; prints current_setting('application_name'). The hook is set with
PQsetAuthDataHook for the whole process, hence a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import psycopg
import psycopg_binary

BEARER_TOKEN = 1
TOKEN = ctypes.create_string_buffer(os.environ.pop("HOOK_TOKEN").encode())


class Request(ctypes.Structure):
    """PGoauthBearerRequest (libpq-fe.h)."""

    _fields_ = (
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("async_", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_void_p),
        ("user", ctypes.c_void_p),
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def hook(kind: int, connection: int, data: int) -> int:
    """Give the token at once."""
    if kind != BEARER_TOKEN:
        return 0
    request = ctypes.cast(data, ctypes.POINTER(Request)).contents
    say("asked: " + (request.openid_configuration or b"").decode())
    request.token = ctypes.addressof(TOKEN)
    return 1


def main() -> None:
    """Connect and ask one thing."""
    folder = Path(psycopg_binary.__file__).parent.parent / "psycopg_binary.libs"
    (library,) = folder.glob("libpq-*.so*")
    ctypes.CDLL(str(library)).PQsetAuthDataHook(hook)
    try:
        with psycopg.connect(sys.argv[1]) as connection:
            row = connection.execute("SELECT 6 * 7").fetchone()
            say(f"answer: {row and row[0]}")
    except psycopg.OperationalError as fault:
        say("refused: " + str(fault).strip().splitlines()[-1])


main()
