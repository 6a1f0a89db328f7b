"""One TLS server whose pg_hba.conf has a role for each way to log in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import PASSWORD

from gateway.demo.binaries import find_tls_binaries, server_account
from gateway.demo.postgres import PostgresServer
from requires import requires

HBA = (
    "local all all scram-sha-256",
    "host all trusting 127.0.0.1/32 trust",
    "host all clear 127.0.0.1/32 password",
    "host all digest 127.0.0.1/32 md5",
    "hostssl all tls_only 127.0.0.1/32 scram-sha-256",
    "host all tls_only 127.0.0.1/32 reject",
    "hostnossl all plain_only 127.0.0.1/32 scram-sha-256",
    "host all plain_only 127.0.0.1/32 reject",
)


@pytest.fixture(scope="session")
def methods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    requires("postgres-tls")
    sockets = Path("/tmp") / f"hoop-edges-{os.getpid()}"  # short: a socket's path has 107 bytes
    sockets.mkdir(mode=0o755)
    account = server_account()
    if account is not None:
        os.chown(sockets, account.uid, account.gid)
    settings = {"unix_socket_directories": str(sockets)}
    try:
        with PostgresServer(binaries=find_tls_binaries(), tls=True, fast=True, hba=HBA, settings=settings) as server:
            roles = ["trusting", "clear", "scram", "tls_only", "plain_only"]
            create = "".join(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}';" for role in roles)
            server.execute(create + f"SET password_encryption = 'md5'; CREATE ROLE digest LOGIN PASSWORD '{PASSWORD}';")
            yield server
    finally:
        sockets.rmdir()
