"""The registry of everything a key does: feeds the bindings, the help, the hint line, the `:` commands and the docs.

One entry, one name, the same words everywhere. `python -m hoop_tui.actions` prints the table of docs/console.md; a test
compares the two. Actions of screens that this version does not have are not listed: a key that does nothing is a lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from textual.binding import Binding


class Where(Enum):
    """In which part of the console an action is offered."""

    EVERYWHERE = "Everywhere"
    LISTS = "In every list and text"
    LIVE = "Live"
    APPROVALS = "Approvals"
    REPLAY = "Replay"
    DIALOG = "In a decision's dialog"


@dataclass(frozen=True, slots=True)
class Action:
    """Something a person can do: `name` is Textual's action, `keys` as Textual names them.

    `hint` is the word in the hint line, empty where it is not shown there; `command` is its name after `:`.
    """

    name: str
    keys: tuple[str, ...]
    where: Where
    title: str
    hint: str = ""
    command: str = ""


ACTIONS: Final = (
    Action("view('live')", ("1",), Where.EVERYWHERE, "Live: sessions and their tail", command="live"),
    Action("view('approvals')", ("2",), Where.EVERYWHERE, "Approvals: what waits for a person", command="approvals"),
    Action("view('replay')", ("3",), Where.EVERYWHERE, "Replay: recorded sessions", command="replay"),
    Action("last_view", ("minus",), Where.EVERYWHERE, "the view before this one", command="back"),
    Action("help", ("question_mark",), Where.EVERYWHERE, "help: the keys of this screen", hint="help", command="help"),
    Action("command", ("colon",), Where.EVERYWHERE, "command line"),
    Action("search", ("slash",), Where.EVERYWHERE, "filter a list, search a transcript", hint="filter"),
    Action("copy_id", ("y",), Where.EVERYWHERE, "copy the id of what is selected"),
    Action("back", ("escape",), Where.EVERYWHERE, "back: close, clear the filter, leave the card"),
    Action("login", ("L",), Where.EVERYWHERE, "log in at the issuer, to decide", command="login"),
    Action("logout", (), Where.EVERYWHERE, "end the login", command="logout"),
    Action("quit", ("q", "ctrl+q"), Where.EVERYWHERE, "quit the console; the gateway goes on", command="quit"),
    Action("down", ("j", "down"), Where.LISTS, "one line down"),
    Action("up", ("k", "up"), Where.LISTS, "one line up"),
    Action("half_down", ("ctrl+d", "pagedown"), Where.LISTS, "half a pane down"),
    Action("half_up", ("ctrl+u", "pageup"), Where.LISTS, "half a pane up"),
    Action("top", ("g", "home"), Where.LISTS, "to the beginning"),
    Action("bottom", ("G", "end"), Where.LISTS, "to the end"),
    Action("other_pane", ("tab",), Where.LISTS, "the next pane"),
    Action("follow", ("f",), Where.LIVE, "follow the tail's end", hint="follow", command="follow"),
    Action("freeze", ("space",), Where.LIVE, "freeze the tail, count what comes meanwhile", hint="freeze"),
    Action("verdict", ("v",), Where.LIVE, "show one verdict only: next one", hint="verdict", command="verdict"),
    Action("only", ("enter",), Where.LIVE, "show the tail of the selected session only, or of all"),
    Action("replay", ("r",), Where.LIVE, "replay the selected session", hint="replay"),
    Action("kill", ("K",), Where.LIVE, "kill the selected session (asks first)", hint="kill", command="kill"),
    Action("open", ("enter",), Where.APPROVALS, "open the card", hint="open"),
    Action("approve", ("a",), Where.APPROVALS, "approve: opens the dialog", hint="approve", command="approve"),
    Action("deny", ("d",), Where.APPROVALS, "deny: opens the dialog", hint="deny", command="deny"),
    Action(
        "break_glass",
        ("B",),
        Where.APPROVALS,
        "break the glass: approve in the place of everybody who is missing (asks first)",
        command="break-glass",
    ),
    Action("withdraw", ("w",), Where.APPROVALS, "take the selected grant back: opens the dialog", command="withdraw"),
    Action("load", ("enter",), Where.REPLAY, "open the selected session", hint="open"),
    Action("play", ("space",), Where.REPLAY, "play, pause", hint="play"),
    Action("seek(-5)", ("left",), Where.REPLAY, "5 s back"),
    Action("seek(5)", ("right",), Where.REPLAY, "5 s forward"),
    Action("leap(-1)", ("shift+left",), Where.REPLAY, "10 % back"),
    Action("leap(1)", ("shift+right",), Where.REPLAY, "10 % forward"),
    Action("step(-1)", ("comma",), Where.REPLAY, "one statement back"),
    Action("step(1)", ("full_stop",), Where.REPLAY, "one statement forward", hint="step"),
    Action("marker(-1)", ("left_square_bracket",), Where.REPLAY, "marker before: denied, held, failed, alarms"),
    Action("marker(1)", ("right_square_bracket",), Where.REPLAY, "next marker", hint="marker"),
    Action("speed(-1)", ("less_than_sign",), Where.REPLAY, "slower, down to 0.5x"),
    Action("speed(1)", ("greater_than_sign",), Where.REPLAY, "faster, up to 32x", hint="speed"),
    Action("speed(0)", ("equals_sign",), Where.REPLAY, "normal speed"),
    Action("idle_cap", ("i",), Where.REPLAY, "cut idle time to 2 s, or show it in full", hint="idle"),
    Action("find(1)", ("n",), Where.REPLAY, "next match"),
    Action("find(-1)", ("N",), Where.REPLAY, "match before"),
    Action("send", ("ctrl+s",), Where.DIALOG, "send the decision (Enter never does, except to deny)"),
    Action("cancel", ("escape",), Where.DIALOG, "close without sending"),
)
"""Every action of this version."""

_SIGNS: Final = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "minus": "-",
    "comma": ",",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "equals_sign": "=",
    "escape": "esc",
    "pagedown": "page down",
    "pageup": "page up",
}


def bindings(*places: Where) -> list[Binding]:
    """Return the key bindings of the given places, for a Textual class's BINDINGS."""
    return [
        Binding(key, action.name, action.title, show=False)
        for action in ACTIONS
        if action.where in places
        for key in action.keys
    ]


def key_name(key: str) -> str:
    """Return a key as people write it."""
    return _SIGNS.get(key, key)


def hints(place: Where) -> Iterator[tuple[str, str]]:
    """Yield (key, word) for the hint line of a screen, its own actions first."""
    for wanted in (place, Where.EVERYWHERE):
        for action in ACTIONS:
            if action.where is wanted and action.hint:
                yield key_name(action.keys[0]), action.hint


def commands() -> dict[str, Action]:
    """Return the actions that `:` knows, by name."""
    return {action.command: action for action in ACTIONS if action.command}


def key_table() -> str:
    """Return the key table of docs/console.md."""
    rows: list[str] = []
    for place in Where:
        rows += [f"### {place.value}", "", "| key | what it does | command |", "|---|---|---|"]
        for action in ACTIONS:
            if action.where is place:
                keys = " ".join(f"`{key_name(key)}`" for key in action.keys)
                rows.append(f"| {keys} | {action.title} | {f'`:{action.command}`' if action.command else ''} |")
        rows.append("")
    return "\n".join(rows)


if __name__ == "__main__":
    print(key_table())  # noqa: T201  the table is this module's output
