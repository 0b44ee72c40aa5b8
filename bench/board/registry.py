"""The pictures and derived tables of boards: declared where they are made, found here, shown in their order.

A file in `plots` declares a picture and a file in `tables` a derived table; nothing else has to be edited. A
plugin file does the same::

    from bench.board import DerivedTable, draw, picture, table

    @table("seeds", track="embedding_scale")
    def seeds(board):
        rows = [(r.info.label, str(sum(len(c.slots) for c in r.cells))) for r in board.rows]
        return DerivedTable("Cells", "how many cells a row has", ("row", "cells"), rows)

    @picture("means")
    def means(board):
        def on(figure):
            rows = [r for r in board.rows if r.mean is not None]
            figure.subplots().barh([r.info.label for r in rows], [r.mean.mean for r in rows])
            return "The mean of each row over all tasks."

        return draw(board, "means", on, width=6, height=3)

This module imports neither numpy nor matplotlib, so a plugin that declares pictures costs `bench plan`
nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bench.contract import BenchError
from bench.errors import nearest
from bench.registry import ELEMENTS, Registry, declared_in, mistake

if TYPE_CHECKING:
    from bench.board.model import Board

#: Instead of the name of a track: on the boards of all tracks.
ANY = "any"


@dataclass(frozen=True, slots=True)
class Picture:
    """One static picture, as `draw` makes it: ``svg`` stands in a page as it is, ``caption`` says how to read
    it, ``width`` is its natural width in CSS pixels. No two pictures of a page have one ``name``.
    """

    name: str
    svg: str
    caption: str
    width: int


@dataclass(frozen=True, slots=True)
class DerivedTable:
    """A table that is computed from a board, as text: one source for the terminal, the Markdown and the page.

    ``note`` says how to read it, beside the title; ``words`` are the indices of the columns that hold words
    and may wrap, all others hold numbers.
    """

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = field(default=frozenset({0}))

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.heads) or not all(isinstance(cell, str) for cell in row):
                raise BenchError(
                    f"table {self.title!r}: a row is {row!r}; expected {len(self.heads)} texts, one for each "
                    f"of {', '.join(self.heads)}"
                )


@dataclass(frozen=True, slots=True)
class Element:
    """A picture or a derived table as declared.

    ``track`` is the name of the track on whose boards it is shown, or `ANY`. ``make`` gives, of a board, one
    thing of its kind, several, or None where the board has nothing for it. ``series``: those of the records
    that a picture draws in place of the general pictures.
    """

    kind: Literal["picture", "table"]
    name: str
    track: str
    order: int
    make: Callable[[Board], Any]
    series: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The file that declares it."""
        return self.make.__code__.co_filename

    def __str__(self) -> str:
        return f"{self.file}:{self.make.__code__.co_firstlineno}: {self.kind} {self.name!r}"


Pictures = Callable[["Board"], Picture | Iterable[Picture] | None]
Tables = Callable[["Board"], DerivedTable | Iterable[DerivedTable] | None]
_P = TypeVar("_P", bound=Pictures)
_T = TypeVar("_T", bound=Tables)
_F = TypeVar("_F", bound=Callable[..., Any])
_R = TypeVar("_R")


def picture(
    name: str, *, track: str = ANY, order: int = 100, series: tuple[str, ...] = ()
) -> Callable[[_P], _P]:
    """Declare that a function of a board makes a picture or several, or None where there is no data for it.

    Args:
        name: of the picture, for messages.
        track: the track on whose boards it is shown; by default on all.
        order: places it among the others, smaller first; ours have 10 to 80.
        series: series of the records that it draws itself, so that the pictures of all tracks leave them out.
    """
    return _declare("picture", name, track, order, series)


def table(name: str, *, track: str = ANY, order: int = 100) -> Callable[[_T], _T]:
    """Declare that a function of a board makes a derived table or several, or None where there is no data for
    it. The arguments are those of `picture`; our tables have the orders 10 to 70.
    """
    return _declare("table", name, track, order)


def _declare(
    kind: Literal["picture", "table"], name: str, track: str, order: int, series: tuple[str, ...] = ()
) -> Callable[[_F], _F]:
    def mark(make: _F) -> _F:
        make.__dict__.setdefault(ELEMENTS, []).append(Element(kind, name, track, order, make, series))
        return make

    return mark


def own_series(board: Board) -> frozenset[str]:
    """The series that pictures of this board's own draw, and that general pictures therefore leave out."""
    return frozenset(s for e in _shown("plots", "picture", board) for s in e.series)


def pictures(board: Board) -> list[Picture]:
    """Every picture that the board has data for, in order."""
    found = [(e, made) for e in _shown("plots", "picture", board) for made in _made(e, board, Picture)]
    names = Counter(made.name for _, made in found)
    for element, made in found:
        # Names of ours may come from damaged records, whose pictures are shown all the same.
        if names[made.name] > 1 and element in board.spec.elements:
            raise BenchError(f"{element}: the board has another picture named {made.name!r}")
    return [made for _, made in found]


def tables(board: Board) -> list[DerivedTable]:
    """Every derived table that the board has data for, in order."""
    return [t for e in _shown("tables", "table", board) for t in _made(e, board, DerivedTable)]


def of_plugins(registry: Registry) -> list[Element]:
    """What plugins declare; `BenchError` with the nearest name if one is for a track that does not exist."""
    found: list[Element] = []
    for module in registry.plugin_modules():
        found += declared_in(module, ELEMENTS)
    tracks = registry.track_names()
    for element in found:
        if element.track not in (ANY, *tracks):
            known = [ANY, *tracks]
            raise BenchError(f"{element}: no track {element.track!r}{nearest(element.track, known)}")
    return found


@cache
def _ours(folder: str) -> tuple[Element, ...]:
    """What the files of a folder beside this file declare."""
    package = importlib.import_module(f"bench.board.{folder}")
    names = [f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in names]
    return tuple(element for module in modules for element in declared_in(module, ELEMENTS))


def _shown(folder: str, kind: str, board: Board) -> list[Element]:
    every = (*_ours(folder), *board.spec.elements)
    found = [e for e in every if e.kind == kind and e.track in (ANY, board.spec.track.name)]
    return sorted(found, key=lambda e: e.order)


def _made(element: Element, board: Board, of: type[_R]) -> list[_R]:
    """What an element makes of a board. A mistake in a plugin is the user's, said with its file and line; one
    in a file of ours is a bug, shown with its traceback.
    """
    try:
        made = element.make(board)
        several = isinstance(made, Iterable) and not isinstance(made, str)
        found = list(made) if several else [] if made is None else [made]
    except Exception as error:
        if element not in board.spec.elements:
            raise
        where = f"{element}: {error}" if isinstance(error, BenchError) else mistake(error, element.file)
        raise BenchError(f"{where} (on the board of track {board.spec.track.name})") from error
    for one in found:
        if not isinstance(one, of):
            expected = f"a {of.__name__}, several of them, or None"
            raise BenchError(f"{element}: gave {type(one).__name__}; expected {expected}")
    return found
