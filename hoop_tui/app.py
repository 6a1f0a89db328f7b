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
from hoop_tui.glyphs import Glyphs, choose, speaks_utf8
from hoop_tui.happenings import ApprovalChanged, Attempted, GrantsListed, HistorySeen, LoginSeen
from hoop_tui.known import Approval, Attempt, AttemptPhase, History
from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.dialogs import Dialog
from hoop_tui.screens.frame import Frame
from hoop_tui.screens.help import HelpScreen
from hoop_tui.screens.live import LiveScreen
from hoop_tui.screens.login import LoginDialog
from hoop_tui.screens.replay import ReplayScreen
from hoop_tui.signing import NotSigned, sign
from hoop_tui.store import Store
from hoop_tui.theme import NIGHT

FLUSH_SECONDS: Final = 0.1
FLUSH_SECONDS_SSH: Final = 0.22
RECORDINGS: Final = 1000
"""Sessions listed at most; older ones are for `hoop-gateway evidence query`."""
PAGE: Final = 200
READING_SECONDS: Final = 60.0
"""Reading old evidence may take that long."""


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
        self.signing_key = signing_key
        environment = os.environ if environment is None else environment
        self.glyphs: Glyphs = choose(environment, encoding)
        super().__init__()
        self.animation_level = "none"
        self.store = Store(clock or SystemClock(), self._changed)
        self.client = ControlClient(
            socket, self.store.clock, self.store.apply, pause=pause, ascii_only=not speaks_utf8(encoding)
        )
        self._flush_after = FLUSH_SECONDS_SSH if "SSH_CONNECTION" in environment else FLUSH_SECONDS
        self._flush_due = False
        self._last_mode = "live"
        self._asking: set[ApprovalId] = set()

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
        self._work(partial(self._decide, approval, reason, approve, more), group="decisions")

    def withdraw(self, id_: ApprovalId, reason: str) -> None:
        """Take a grant back and show the gateway's answer."""
        self._work(partial(self._withdraw, id_, reason), group="decisions")

    def action_login(self) -> None:
        """Begin a login and show its code."""
        if self.store.state.live:
            self._work(self._login, group="login", exclusive=True)
        else:
            self._say("the gateway is lost: nobody can log in", "bad")

    def action_logout(self) -> None:
        """End the login."""
        self._work(self._logout, group="login", exclusive=True)

    def fetch(self, id_: ApprovalId) -> None:
        """Ask for a request with its whole statement."""
        self._work(partial(self._fetch, id_), group="decisions")

    def look_back(self, id_: ApprovalId) -> None:
        """Ask what the evidence says of the time before a request."""
        self._work(partial(self._look_back, id_), group="history", exclusive=True)

    def kill(self, id_: SessionId, reason: str) -> None:
        """Ask for a session's end and show the gateway's answer."""
        self._work(partial(self._kill, id_, reason), group="decisions")

    def load_recordings(self) -> None:
        """Ask for the recorded sessions."""
        self._work(self._load_recordings, group="recordings", exclusive=True)

    def load_transcript(self, session_id: str) -> None:
        """Ask for a transcript, page by page."""
        self._work(partial(self._load_transcript, session_id), group="transcript", exclusive=True)

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
            seconds = intake.count(code, "seconds") if isinstance(code, dict) else 0
            found = intake.login({"login": await self.client.request("login.wait", patience=seconds + 60.0)})
        except (Refusal, Malformed, LineLost) as error:
            words, role = f"not logged in: {error}".replace("not logged in: not logged in", "not logged in"), "bad"
        else:
            self.store.apply(LoginSeen(found))
            words, role = f"logged in as {found.operator if found else 'nobody'}", "ok"
        if dialog is not None and dialog.is_mounted:
            dialog.dismiss()
        self._say(words, role)

    async def _logout(self) -> None:
        try:
            await self.client.request("login.end")
        except (Refusal, Malformed, LineLost) as error:
            self._say(f"UNKNOWN whether the login ended: {error}", "bad")
        else:
            self.store.apply(LoginSeen(None))
            self._say("logged out", "ok")

    async def _withdraw(self, id_: ApprovalId, reason: str) -> None:
        try:
            await self.client.request("grants.withdraw", id=id_, reason=reason)
            found = intake.grants(await self.client.listing("grants.list"))
        except (Refusal, Malformed) as refusal:
            self._say(f"not withdrawn: {refusal}", "bad")
        except LineLost:
            self._say(f"UNKNOWN whether {id_} was withdrawn: no answer; the list will tell", "bad")
        else:
            self.store.apply(GrantsListed(found))
            self._say(f"withdrawn {id_}", "ok")

    async def _decide(self, approval: Approval, reason: str, approve: bool, more: dict[str, Any]) -> None:
        def told(phase: AttemptPhase, message: str = "") -> None:
            self.store.apply(Attempted(approval.id, Attempt(approve, phase, message)))

        method = "approvals.approve" if approve else "approvals.deny"
        params: dict[str, Any] = {"id": approval.id, "hash": approval.hash, "reason": reason, **more}
        gateway = self.store.state.gateway
        try:
            if approve and gateway is not None and gateway.assurance == "signed":
                told(AttemptPhase.SIGNING)
                receipt = await self.client.exact("approvals.receipt", **params)
                params["signature"] = await sign(receipt, approval, params, self.signing_key)
            told(AttemptPhase.SENT)
            answer = intake.approval(await self.client.request(method, **params))
        except (Refusal, Malformed, NotSigned) as refusal:
            told(AttemptPhase.REFUSED, f"{refusal}")
            await self._fetch(approval.id)
        except LineLost:
            told(AttemptPhase.UNKNOWN)
        else:
            told(AttemptPhase.ACCEPTED)
            if answer is not None:
                self.store.apply(ApprovalChanged(answer))

    async def _fetch(self, id_: ApprovalId) -> None:
        try:
            answer = intake.approval(await self.client.request("approvals.get", id=id_))
        except (Refusal, Malformed, LineLost):
            return  # what is shown stays; the next list or event brings it up to date
        if answer is not None:
            self.store.apply(ApprovalChanged(answer))

    async def _look_back(self, id_: ApprovalId) -> None:
        try:
            found = intake.history(await self.client.request("approvals.history", patience=READING_SECONDS, id=id_))
        except (Refusal, Malformed) as refusal:
            found = History(why_not=f"{refusal}")
        except LineLost:
            return  # asked again when the line is back
        self.store.apply(HistorySeen(id_, found))

    async def _settle(self, id_: ApprovalId, attempt: Attempt) -> None:
        """Ask what became of a decision whose answer was lost."""
        try:
            answer = intake.approval(await self.client.request("approvals.get", id=id_))
        except Refusal as refusal:
            self.store.apply(Attempted(id_, Attempt(attempt.approve, AttemptPhase.REFUSED, f"{refusal}")))
        except (Malformed, LineLost):
            return  # still unknown; asked again when the line is back
        else:
            if answer is not None:
                words = "the gateway never received it" if answer.pending else f"the request is {answer.state}"
                phase = AttemptPhase.REFUSED if answer.pending else AttemptPhase.ACCEPTED
                self.store.apply(ApprovalChanged(answer))
                self.store.apply(Attempted(id_, Attempt(attempt.approve, phase, words)))
        finally:
            self._asking.discard(id_)

    async def _kill(self, id_: SessionId, reason: str) -> None:
        try:
            await self.client.request("sessions.kill", id=id_, reason=reason)
        except (Refusal, Malformed) as refusal:
            self._say(f"not killed: {refusal}", "bad")
        except LineLost:
            self._say(f"UNKNOWN whether {id_} was killed: no answer; the list will tell", "bad")
        else:
            self._say(f"killed {id_}", "ok")

    async def _load_recordings(self) -> None:
        screen = self._replay_screen()
        if screen is None:
            return
        try:
            found: list[Any] = []
            before: dict[str, str] = {}
            while len(found) < RECORDINGS:
                page = await self.client.request("replay.sessions", patience=READING_SECONDS, limit=PAGE, **before)
                found += page["items"] if isinstance(page, dict) and isinstance(page.get("items"), list) else []
                screen.take_recordings(found)
                if not isinstance(page, dict) or not isinstance(page.get("next_before"), str):
                    break
                before = {"before": page["next_before"]}
        except (Refusal, Malformed, LineLost) as error:
            screen.fail(f"the gateway did not list them: {error}")

    async def _load_transcript(self, session_id: str) -> None:
        screen = self._replay_screen()
        after: int | None = None
        try:
            while screen is not None:
                page = await self.client.request(
                    "replay.transcript", patience=READING_SECONDS, session_id=session_id, after_seq=after, limit=PAGE
                )
                after = screen.take_page(session_id, page)
                if after is None:
                    break
        except (Refusal, Malformed, LineLost) as error:
            if screen is not None:
                screen.fail(f"not loaded: {error}")

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
        if not self.store.state.live:
            return
        for id_, attempt in self.store.state.attempts.items():
            if attempt.phase is AttemptPhase.UNKNOWN and id_ not in self._asking:
                self._asking.add(id_)
                self._work(partial(self._settle, id_, attempt), group="decisions")

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
