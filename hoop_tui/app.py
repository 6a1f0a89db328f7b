"""The console's application: owns the store, the line to the gateway and the screens, and carries words between them.

What the gateway sends goes client -> store -> `flush` of the screen in front, ten times a second at most (four over
SSH), at once where a person waits. What a person decides goes screen -> here -> client, as a worker that touches no
widget: its outcome comes back through the store. No animation, no mouse unless asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import App
from textual.binding import BindingType
from textual.screen import Screen
from textual.worker import WorkType

from gateway.control.messages import Malformed, Refusal
from gateway.model import ApprovalId, Clock, SessionId
from hoop_tui import intake
from hoop_tui.actions import Where, bindings, commands
from hoop_tui.client import ControlClient, LineLost
from hoop_tui.clock import SystemClock
from hoop_tui.fields import count
from hoop_tui.glyphs import Glyphs, choose, speaks_utf8
from hoop_tui.happenings import LoginSeen
from hoop_tui.known import Approval
from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.dialogs import Dialog
from hoop_tui.screens.frame import Frame
from hoop_tui.screens.help import HelpScreen
from hoop_tui.screens.live import LiveScreen
from hoop_tui.screens.login import LoginDialog
from hoop_tui.screens.replay import ReplayScreen
from hoop_tui.sending import Recordings, Sending
from hoop_tui.store import Store
from hoop_tui.theme import NIGHT

FLUSH_SECONDS: Final = 0.1
FLUSH_SECONDS_SSH: Final = 0.22


class HoopApp(App[None]):
    """The console."""

    TITLE = "hoop"
    CSS_PATH = "console.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(Where.EVERYWHERE)]
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "live": LiveScreen,
        "approvals": ApprovalsScreen,
        "replay": ReplayScreen,
    }
    DEFAULT_MODE = "live"

    def __init__(
        self,
        socket: Path,
        *,
        clock: Clock | None = None,
        environment: Mapping[str, str] | None = None,
        encoding: str | None = "utf-8",
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        signing_key: str | None = None,
    ) -> None:
        """`signing_key` is the file of the SSH key that signs receipts where the gateway asks for signatures."""
        environment = os.environ if environment is None else environment
        self.glyphs: Glyphs = choose(environment, encoding)
        super().__init__()
        self.animation_level = "none"
        self.store = Store(clock or SystemClock(), self._changed)
        self.client = ControlClient(
            socket, self.store.clock, self.store.apply, pause=pause, ascii_only=not speaks_utf8(encoding)
        )
        self.sending = Sending(self.client, self.store, self._say, signing_key)
        self._flush_after = FLUSH_SECONDS_SSH if "SSH_CONNECTION" in environment else FLUSH_SECONDS
        self._flush_due = False
        self._last_mode = "live"

    def on_mount(self) -> None:
        """Take the theme, begin to talk to the gateway."""
        self.register_theme(NIGHT)
        self.theme = NIGHT.name
        self._work(self.client.run, group="line", exclusive=True)
        self.set_interval(1.0, self._tick)

    def get_default_screen(self) -> Screen[Any]:
        """Never shown: the modes have their own."""
        return Screen()

    def action_view(self, name: str) -> None:
        """Go to a screen."""
        if name != self.current_mode:
            self._last_mode = self.current_mode
            self.switch_mode(name)

    def action_last_view(self) -> None:
        """Go to the screen before this one."""
        self.action_view(self._last_mode)

    async def action_help(self) -> None:
        """Show the keys of this screen."""
        if isinstance(self.screen, Frame):
            await self.push_screen(HelpScreen(self.screen.PLACE))

    def action_command(self) -> None:
        """Open the command line."""
        if isinstance(self.screen, Frame):
            self.screen.ask(":")

    def action_search(self) -> None:
        """Open the search."""
        if isinstance(self.screen, Frame):
            self.screen.ask("/")

    async def action_back(self) -> None:
        """Leave what was opened last."""
        if isinstance(self.screen, Frame) and not self.screen.close_command():
            self.screen.go_back()

    def action_copy_id(self) -> None:
        """Copy the selected id to the terminal's clipboard."""
        if isinstance(self.screen, Frame):
            found = self.screen.selected_id()
            if found:
                self.copy_to_clipboard(found)
            self.screen.say(f"copied {found}" if found else "nothing is selected", "ok" if found else "wait")

    def obey(self, text: str) -> None:
        """Do what was typed after `:`; a command is an action's name."""
        word, _, argument = text.strip().partition(" ")
        if not isinstance(self.screen, Frame) or not word:
            return
        action = commands().get(word)
        if action is None:
            self.screen.say(f"no such command: {word} (there are {', '.join(sorted(commands()))})")
        elif word == "replay" and argument:
            self.replay(argument.strip())
        elif action.where in {Where.EVERYWHERE, self.screen.PLACE}:
            self.call_later(self.run_action, action.name, self if action.where is Where.EVERYWHERE else self.screen)
        else:
            self.screen.say(f"{word} belongs to {action.where.value}")

    def replay(self, session_id: str) -> None:
        """Go to Replay and open a session there."""
        self.action_view("replay")
        self.call_later(self._open_recording, session_id)

    def decide(
        self,
        approval: Approval,
        reason: str,
        *,
        approve: bool,
        seconds: int | None = None,
        break_glass: bool = False,
    ) -> None:
        """Send a decision, signed where that is asked for; what becomes of it comes back through the store."""
        more: dict[str, Any] = {} if seconds is None else {"seconds": seconds, "scope": "rule"}
        if break_glass:
            more["break_glass"] = True
        self._work(partial(self.sending.decide, approval, reason, approve, more), group="decisions")

    def withdraw(self, id_: ApprovalId, reason: str) -> None:
        """Take a grant back and show the gateway's answer."""
        self._work(partial(self.sending.withdraw, id_, reason), group="decisions")

    def action_login(self) -> None:
        """Begin a login and show its code."""
        if self.store.state.live:
            self._work(self._login, group="login", exclusive=True)
        else:
            self._say("the gateway is lost: nobody can log in", "bad")

    def action_logout(self) -> None:
        """End the login."""
        self._work(self.sending.logout, group="login", exclusive=True)

    def fetch(self, id_: ApprovalId) -> None:
        """Ask for a request with its whole statement."""
        self._work(partial(self.sending.fetch, id_), group="decisions")

    def look_back(self, id_: ApprovalId) -> None:
        """Ask what the evidence says of the time before a request."""
        self._work(partial(self.sending.look_back, id_), group="history", exclusive=True)

    def kill(self, id_: SessionId, reason: str) -> None:
        """Ask for a session's end and show the gateway's answer."""
        self._work(partial(self.sending.kill, id_, reason), group="decisions")

    def load_recordings(self, screen: Recordings) -> None:
        """Ask for the recorded sessions, for `screen`."""
        self._work(partial(self.sending.recordings, screen), group="recordings", exclusive=True)

    def load_transcript(self, screen: Recordings, session_id: str) -> None:
        """Ask for a transcript, page by page, for `screen`."""
        self._work(partial(self.sending.transcript, screen, session_id), group="transcript", exclusive=True)

    def _work(self, job: Callable[[], Coroutine[None, None, None]], *, group: str, exclusive: bool = False) -> None:
        """Start a worker. A job is started by the worker itself, so that one replaced at once leaves nothing behind."""
        work: WorkType[None] = job
        self.run_worker(work, group=group, exclusive=exclusive)

    async def _login(self) -> None:
        dialog: LoginDialog | None = None
        try:
            code = await self.client.request("login.start")
            dialog = LoginDialog(code if isinstance(code, dict) else {})
            await self.push_screen(dialog)
            seconds = count(code, "seconds") if isinstance(code, dict) else 0
            found = intake.login({"login": await self.client.request("login.wait", patience=seconds + 60.0)})
        except (Refusal, Malformed, LineLost) as error:
            words, role = f"not logged in: {error}".replace("not logged in: not logged in", "not logged in"), "bad"
        else:
            self.store.apply(LoginSeen(found))
            words, role = f"logged in as {found.operator if found else 'nobody'}", "ok"
        if dialog is not None and dialog.is_mounted:
            dialog.dismiss()
        self._say(words, role)

    def _changed(self, urgent: bool) -> None:
        if urgent:
            self._flush_due = True
            self.call_later(self._flush_screens)
        elif not self._flush_due:
            self._flush_due = True
            self.set_timer(self._flush_after, self._flush_screens)

    def _flush_screens(self) -> None:
        if not self._flush_due:
            return
        self._flush_due = False
        for screen in self.screen_stack:
            if isinstance(screen, Frame | Dialog) and screen.is_mounted:
                screen.flush()
        self._ask_again()

    def _tick(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, Frame | Dialog) and screen.is_mounted:
                screen.tick()

    def _ask_again(self) -> None:
        """Ask after decisions whose answer was lost, as soon as there is somebody to ask."""
        for id_, attempt in self.sending.unsettled():
            self._work(partial(self.sending.settle, id_, attempt), group="decisions")

    def _say(self, words: str, role: str) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, Frame):
                screen.say(words, role)

    def _replay_screen(self) -> ReplayScreen | None:
        return next((screen for screen in self.screen_stack if isinstance(screen, ReplayScreen)), None)

    def _open_recording(self, session_id: str) -> None:
        screen = self._replay_screen()
        if screen is not None:
            screen.open(session_id)
