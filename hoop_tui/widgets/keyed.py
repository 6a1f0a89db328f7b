"""A list whose selection is bound to what is selected, not to where it stands.

New rows never move the selection nor, where there is room to scroll, its place on the screen. Where the selected thing
is gone, nothing is selected: the next key must not hit its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

from hoop_tui.glyphs import RICH, Glyphs
from hoop_tui.lines import Row
from hoop_tui.widgets.virtual import Lines, VirtualView


class KeyedList(VirtualView):
    """A `VirtualView` with a selected key."""

    def __init__(self, *, id: str, glyphs: Glyphs = RICH) -> None:  # noqa: A002  Textual's own name for it
        super().__init__(id=id, has_cursor=True, glyphs=glyphs)
        self._keys: tuple[str | None, ...] = ()
        self._touched = False

    @property
    def selected(self) -> str | None:
        """The selected key."""
        if self.cursor is None or not 0 <= self.cursor < len(self._keys):
            return None
        return self._keys[self.cursor]

    @property
    def shown(self) -> int:
        """How many rows can be selected."""
        return sum(key is not None for key in self._keys)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show `rows`; the selection stays on its key. The first list ever shown selects its first row."""
        before, place = self.selected, self.cursor
        self._keys = tuple(row.key for row in rows)
        headings = frozenset(number for number, key in enumerate(self._keys) if key is None)
        if before is None and not self._touched:
            self.cursor = next((number for number, key in enumerate(self._keys) if key is not None), None)
            self._touched = self.cursor is not None
        elif before in self._keys and before is not None:
            self.cursor = self._keys.index(before)
            self.top += self.cursor - (place or 0) if self.top > 0 else 0
        else:
            self.cursor = None
        self.show(Lines([row.line for row in rows], headings))

    def select(self, key: str) -> bool:
        """Select a key, if it is there."""
        if key not in self._keys:
            return False
        self.cursor = self._keys.index(key)
        self._touched = True
        self.scroll_to_row(self.cursor)
        return True
