"""Consoles that break no name: a line ends between words, and what is wider than the line runs on.

Rich cuts a word that does not fit, in a table's column too. A path whose end stands on the next line can
neither be copied nor searched for, and where it is cut depends on how long the folder's name is.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

#: Wider than any word.
_UNBOUNDED = 1_000_000


class WholeWords(Console):
    """A console on which a table is as wide as its longest words if the window is narrower, and a text with a
    word wider than the window is one line, which the terminal wraps.
    """

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's, without cutting a word or the end of a line."""
        if len(objects) == 1 and isinstance(objects[0], Group):
            for part in objects[0].renderables:
                self.print(part, **how)
            return
        for o in objects:
            if isinstance(o, Table):
                self._widen(o)
            elif isinstance(o, str | Text) and self._sizes(o).minimum > self.width:
                how = {"soft_wrap": True, **how}
        super().print(*objects, **{"crop": False, **how})

    def _widen(self, table: Table) -> None:
        """Let no column get narrower than its longest word, or than its longest cell if it may not wrap."""
        for column in table.columns:
            sizes = [self._sizes(c) for c in (column.header, *column.cells)]
            least = max(s.maximum if column.no_wrap else s.minimum for s in sizes)
            column.min_width = max(least, column.min_width or 0)

    def _sizes(self, shown: RenderableType) -> Measurement:
        return Measurement.get(self, self.options.update(width=_UNBOUNDED), shown)


def in_parts(names: list[str], each: int, room: int) -> list[list[str]]:
    """Names of columns, each ``each`` wide, in as many parts as it takes for a part to fit into ``room``."""
    fit = max(1, room // each)
    return [names[first : first + fit] for first in range(0, len(names), fit)]
