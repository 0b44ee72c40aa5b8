"""How commands print: consoles that never cut a word nor obey what they print, and durations in words.

Rich cuts a word that does not fit, in a table's column too. A path whose end stands on the next line can
neither be copied nor searched for, and where it is cut depends on how long the folder's name is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from bench.errors import BenchError
from bench.live.words import duration as duration

#: A width in columns that no word reaches.
_UNBOUNDED = 1_000_000
#: Characters that a terminal obeys in place of showing them: escape codes, and marks that turn the direction
#: of what follows. A record, a file's name or a method's error may hold any of them.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with characters that a terminal would obey written out, as ``\\x1b``."""
    return _OBEYED.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


def echo(text: str) -> None:
    """Print a table as it is: into a file or a pipe to the letter, on a terminal with `visible` alone."""
    typer.echo(visible(text) if sys.stdout.isatty() else text, nl=not text.endswith("\n"))


class WholeWords(Console):
    """A console on which a table is as wide as its longest words if the window is narrower, and a text with a
    word wider than the window is one line, which the terminal wraps.
    """

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does, but cut neither a word nor the end of a line."""
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

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, with what a terminal would obey written out; rich's own codes are added
        later.
        """
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control or not _OBEYED.search(text) else Segment(visible(text), style)

    def _widen(self, table: Table) -> None:
        """Make each column as wide as its longest word, or as its longest cell if it may not wrap."""
        for column in table.columns:
            sizes = [self._sizes(c) for c in (column.header, *column.cells)]
            least = max(s.maximum if column.no_wrap else s.minimum for s in sizes)
            column.min_width = max(least, column.min_width or 0)

    def _sizes(self, shown: RenderableType) -> Measurement:
        return Measurement.get(self, self.options.update(width=_UNBOUNDED), shown)


def in_parts(names: list[str], each: int, room: int) -> list[list[str]]:
    """Split the columns of a table so that each part, at ``each`` characters a column, fits into ``room``."""
    fit = max(1, room // each)
    return [names[first : first + fit] for first in range(0, len(names), fit)]


console = WholeWords(highlight=False)
errors = WholeWords(stderr=True, highlight=False)


def escape(text: str) -> str:
    """The text for rich, with its square brackets shown instead of being read as markup."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str, option: str) -> float:
    """The seconds of ``90s``, ``10m``, ``2.5h`` or ``1d``; anything else is a `BenchError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if not match:
        raise BenchError(f"{option} {text}: expected a number with s, m, h or d, such as 10m")
    return float(match[1]) * _UNITS[match[2]]
