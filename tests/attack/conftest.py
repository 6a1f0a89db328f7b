"""Attacks borrow the tools of the other folders: the machine's driver of lists and the raw wire client."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("wire", "e2e"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))
