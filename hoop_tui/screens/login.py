"""The login: where to go and what to type there, while the gateway waits for the issuer's word.

Shows what the gateway was told and nothing that could be a secret: no token ever comes here. Escape closes the dialog;
the code stays good, and who confirms it is logged in all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from hoop_tui.lines import Line, Span, wrap
from hoop_tui.screens.dialogs import INSIDE, Dialog
from hoop_tui.widgets.bar import Bar


class LoginDialog(Dialog):
    """A device code, waiting to be confirmed in a browser."""

    def __init__(self, code: Mapping[str, Any]) -> None:
        super().__init__()
        self._code = {name: value for name, value in code.items() if isinstance(value, str)}

    def compose(self) -> ComposeResult:
        """Lay it out: lines only."""
        with Vertical(id="box"):
            for number, _ in enumerate(self.summary()):
                yield Bar(partial(self._summary_line, number))

    def summary(self) -> list[Line]:
        """Return where to go, and the code."""
        lines: list[Line] = [(Span("LOG IN", "title"), Span("  in any browser, here or elsewhere", "dim")), ()]
        lines += wrap(self._code.get("verification_uri", "the gateway told no address"), INSIDE, "text")
        lines += [(), (Span("code ", "dim"), Span(self._code.get("user_code", ""), "wait-strong")), ()]
        whole = self._code.get("verification_uri_complete")
        if whole:
            lines += [(Span("or, with the code in it", "dim"),), *wrap(whole, INSIDE, "text"), ()]
        lines.append((Span("waiting for the issuer   ", "wait"), Span("esc", "key"), Span(" close", "dim")))
        return lines

    def missing(self) -> list[str]:
        """There is nothing to fill in, and nothing to send."""
        return ["the confirmation in the browser"]

    def changed(self) -> str:
        """A login does not depend on what is shown behind it."""
        return ""
