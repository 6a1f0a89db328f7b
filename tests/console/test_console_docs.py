from __future__ import annotations

from pathlib import Path

from hoop_tui.actions import ACTIONS, Where, commands, key_table
from hoop_tui.app import HoopApp
from hoop_tui.screens.approvals import ApprovalsScreen
from hoop_tui.screens.dialogs import Dialog
from hoop_tui.screens.live import LiveScreen
from hoop_tui.screens.replay import ReplayScreen
from hoop_tui.widgets.virtual import VirtualView

DOCS = Path(__file__).parents[2] / "docs" / "console.md"
OWNERS = {
    Where.EVERYWHERE: HoopApp,
    Where.LISTS: VirtualView,
    Where.LIVE: LiveScreen,
    Where.APPROVALS: ApprovalsScreen,
    Where.REPLAY: ReplayScreen,
    Where.DIALOG: Dialog,
}


def test_the_documented_keys_are_the_bound_keys() -> None:
    text = DOCS.read_text("utf-8")
    table = text.split("do not edit -->\n", 1)[1].split("<!-- keys end -->", 1)[0]
    assert table.strip() == key_table().strip(), "run: python -m hoop_tui.actions"


def test_every_action_exists_where_it_is_offered() -> None:
    for action in ACTIONS:
        owner = LiveScreen if action.name == "other_pane" else OWNERS[action.where]
        assert callable(getattr(owner, f"action_{action.name.partition('(')[0]}", None)), action


def test_no_key_means_two_things_in_one_place() -> None:
    for place in (Where.LIVE, Where.APPROVALS, Where.REPLAY):
        keys = [
            key for action in ACTIONS if action.where in {place, Where.LISTS, Where.EVERYWHERE} for key in action.keys
        ]
        assert len(keys) == len(set(keys)), place


def test_commands_have_one_meaning() -> None:
    named = [action.command for action in ACTIONS if action.command]
    assert sorted(named) == sorted(commands())
