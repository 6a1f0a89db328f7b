"""The line to the gateway: one Unix socket, one message a line, kept up for as long as the console lives.

Connects, greets, subscribes, lists what is there, then delivers events in their order; when the line breaks it says so,
waits (longer each time, up to five seconds) and resumes from the last number it saw. What it missed is delivered as a
gap, never skipped in silence. Every string is scrubbed here and nowhere later. It never touches a widget, and never
assumes an answer: a request that the gateway did not answer raises `LineLost`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gateway.control.framing import Lines
from gateway.control.messages import (
    TOPICS,
    VERSION,
    ClientMessage,
    Event,
    Failure,
    Hello,
    Malformed,
    Refusal,
    Request,
    Response,
    Welcome,
    decode_server,
    encode,
)
from gateway.model import Clock
from hoop_tui import __version__, held, intake
from hoop_tui.clock import SECOND
from hoop_tui.happenings import (
    ApprovalsListed,
    Connecting,
    GrantsListed,
    Greeted,
    Happening,
    HealthAsked,
    LoginSeen,
    Lost,
    SessionsListed,
    TailSeen,
)
from hoop_tui.known import Gap
from hoop_tui.sanitize import scrub, scrub_message

CHUNK: Final = 64 * 1024
GREETING_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 10.0
REFRESH_SECONDS: Final = 2.0
PULSE_EVERY: Final = 5
"""Rounds of REFRESH_SECONDS between two questions after the gateway's health."""
BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
MOST_PAGES: Final = 50

log = logging.getLogger(__name__)


class LineLost(Exception):
    """The gateway did not answer: what became of the request is not known."""


class ControlClient:
    """Keeps the line up and turns its messages into happenings.

    `deliver` is called in the loop's own thread, in the order in which the gateway sent things. `pause` waits between
    tries and between refreshes; tests give their own.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        deliver: Callable[[Happening], None],
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        ascii_only: bool = False,
    ) -> None:
        self.path = path
        self._clock = clock
        self._deliver = deliver
        self._pause = pause
        self._ascii_only = ascii_only
        self._last: int | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[int, asyncio.Future[Response]] = {}
        self._next_id = 1
        self._busy = False

    async def run(self) -> None:
        """Keep the line up until cancelled."""
        tries = 0
        while True:
            self._deliver(Connecting(self._clock.monotonic()))
            greeted = False
            try:
                async with asyncio.timeout(GREETING_SECONDS):
                    reader, lines, early = await self._connect()
                greeted = True
                await self._serve(reader, lines, early)
                why = "the gateway closed the line"
            except (OSError, LineLost, Malformed, Refusal) as error:  # TimeoutError is an OSError
                why = self._in_words(error)
            finally:
                self._hang_up()
            tries = 0 if greeted else tries + 1
            wait = BACKOFF_SECONDS[min(tries, len(BACKOFF_SECONDS) - 1)]
            now = self._clock.monotonic()
            self._deliver(Lost(why, now, now + int(wait * SECOND)))
            log.info("line lost: %s; next try in %s s", why, wait)
            await self._pause(wait)

    async def request(self, method: str, /, *, patience: float = ANSWER_SECONDS, **params: Any) -> Any:
        """Ask the gateway and return its answer, scrubbed; wait for it at most `patience` seconds.

        Raises Refusal where it answers that it did not do it, LineLost where it does not answer.
        """
        return self._scrub((await self._call(method, params, patience)).result)

    async def exact(self, method: str, /, **params: Any) -> Any:
        """Ask as `request` does, and return the answer as it came: to be signed, never to be shown."""
        return (await self._call(method, params, ANSWER_SECONDS)).result

    async def listing(self, method: str, **params: Any) -> list[Any]:
        """Ask for a list and follow it to its end. Raises as `request` does."""
        items: list[Any] = []
        after: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            page = await self._call(method, {**params, **after}, ANSWER_SECONDS)
            items += page.result if isinstance(page.result, list) else []
            if page.next is None:
                break
            after = {"after": page.next}
        return [self._scrub(item) for item in items]

    async def _call(self, method: str, params: dict[str, Any], patience: float) -> Response:
        number, self._next_id = self._next_id, self._next_id + 1
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(patience):
                await self._send(Request(number, method, params))
                return await answer
        except OSError as error:
            raise LineLost("the gateway does not answer") from error
        finally:
            self._answers.pop(number, None)

    async def _connect(self) -> tuple[asyncio.StreamReader, Lines, list[bytes]]:
        """Connect and greet; returns also the frames that came right behind the greeting's answer."""
        reader, self._writer = await asyncio.open_unix_connection(str(self.path), limit=CHUNK)
        await self._send(Hello(f"hoop-tui {__version__}", self._last))
        lines = Lines()
        frames: list[bytes] = []
        while not frames:
            chunk = await reader.read(CHUNK)
            if not chunk:
                raise LineLost("the gateway closed the line")
            frames = lines.feed(chunk)
        first, *early = frames
        self._welcome(decode_server(first))
        return reader, lines, early

    def _welcome(self, message: object) -> None:
        if isinstance(message, Failure):
            raise Refusal(message.code, self._clean(message.message))
        if not isinstance(message, Welcome):
            raise Malformed("no greeting")
        if message.version != VERSION:
            raise Malformed(f"the gateway speaks version {message.version}, this console {VERSION}")
        anchor = self._clock.monotonic()
        self._deliver(Greeted(intake.gateway(message, self._clean, anchor, self._clock.now()), anchor))
        if self._last is not None and message.restarted:
            self._deliver(TailSeen(Gap(0, 0, "the gateway was started anew")))
        elif message.gap is not None:
            self._deliver(TailSeen(Gap(*message.gap, "while the console was away")))
        if self._last is None or message.restarted or message.gap is not None:
            self._last = message.next - 1 if message.next > 0 else None

    async def _serve(self, reader: asyncio.StreamReader, lines: Lines, early: list[bytes]) -> None:
        tasks = [asyncio.create_task(self._read(reader, lines, early)), asyncio.create_task(self._keep_fresh())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self, reader: asyncio.StreamReader, lines: Lines, early: list[bytes]) -> None:
        for frame in early:
            self._take(frame)
        while chunk := await reader.read(CHUNK):
            for frame in lines.feed(chunk):
                self._take(frame)
            # A flood of events must not starve the keyboard.
            await asyncio.sleep(0)

    def _take(self, frame: bytes) -> None:
        match decode_server(frame):
            case Event() as event:
                self._last = max(self._last or 0, event.number)
                told = intake.happening(event.event, self._scrub(dict(event.data)))
                self._busy = self._busy or event.event == "record"
                if told is not None:
                    self._deliver(told)
            case Response() as response:
                self._answer(response.id, response)
            case Failure() as failure:
                self._answer(failure.id, Refusal(failure.code, self._clean(failure.message)))
            case Welcome():
                raise Malformed("a second greeting")

    def _answer(self, number: int | None, content: Response | Refusal) -> None:
        answer = None if number is None else self._answers.get(number)
        if answer is None or answer.done():
            log.info("an answer that nobody waits for was left out")
        elif isinstance(content, Refusal):
            answer.set_exception(content)
        else:
            answer.set_result(content)

    async def _keep_fresh(self) -> None:
        """Subscribe and list what is there; then ask for what events do not tell: counters, health."""
        await self._ask(self.request("subscribe", topics=list(TOPICS)))
        pending = held.approvals(await self._ask(self.listing("approvals.list", decided=False)))
        decided = held.approvals(await self._ask(self.request("approvals.list", decided=True)))
        self._deliver(ApprovalsListed(tuple({one.id: one for one in (*decided, *pending)}.values())))
        self._busy = True
        for number in range(1 << 62):
            if self._busy:
                self._busy = False
                self._deliver(SessionsListed(intake.sessions(await self._ask(self.listing("sessions.list")))))
            if number % PULSE_EVERY == 0:
                self._deliver(LoginSeen(intake.login(await self._ask(self.request("login.show")))))
                self._deliver(GrantsListed(intake.grants(await self._ask(self.listing("grants.list")))))
                # A line that only looks open is found out here.
                self._deliver(HealthAsked())
                status = await self._ask(self.request("status"))
                self._deliver(intake.health(status))
            await self._pause(REFRESH_SECONDS)

    async def _ask(self, question: Awaitable[Any]) -> Any:
        """Ask what the console needs; where the operator may not know it, or the gateway has it not: nothing."""
        try:
            return await question
        except Refusal as refusal:
            log.info("refused: %s: %s", refusal.code, refusal)
            return None

    async def _send(self, message: ClientMessage) -> None:
        if self._writer is None:
            raise LineLost("not connected")
        self._writer.write(encode(message))
        await self._writer.drain()

    def _hang_up(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LineLost("the line broke before the gateway answered"))

    def _scrub(self, content: Any) -> Any:
        try:
            return scrub_message(content, ascii_only=self._ascii_only)
        except ValueError as error:
            raise Malformed(str(error)) from error

    def _clean(self, text: str) -> str:
        return scrub(text, ascii_only=self._ascii_only).text

    def _in_words(self, error: Exception) -> str:
        """Say in a few words why the line broke."""
        match error:
            case FileNotFoundError():
                return f"no socket at {self.path}"
            case ConnectionRefusedError():
                return f"nobody listens at {self.path}"
            case PermissionError():
                return f"no permission for {self.path}"
            case TimeoutError():
                return "the gateway does not answer"
            case _:
                return str(error) or type(error).__name__
