"""Configurations are written to files of a test's own, beside the files that they name."""

from __future__ import annotations

from pathlib import Path

import pytest
from configurations import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration whose files all exist."""
    tls = tmp_path / "state" / "tls"
    tls.mkdir(parents=True)
    for name in ("cert.pem", "key.pem"):
        (tls / name).write_text("")

    def written(text: str) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        return path

    return written
