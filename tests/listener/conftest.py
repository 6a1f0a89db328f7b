"""A certificate for the listener, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.listener.certificate import make_self_signed


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("listener")
    paths = folder / "cert.pem", folder / "key.pem"
    make_self_signed(*paths, ["localhost", "127.0.0.1", "::1"])
    return paths
