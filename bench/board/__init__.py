"""Leaderboards: computed from a plan and its records, shown as text and as a page.

What a plugin needs for a picture or a derived table of its own is named here (see `registry` for an example).
"""

from bench.board.canvas import draw
from bench.board.registry import DerivedTable, Picture, picture, table

__all__ = ["DerivedTable", "Picture", "draw", "picture", "table"]
