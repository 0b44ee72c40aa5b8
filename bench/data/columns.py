"""Arrays of equal length that belong together, row by row."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np


class Columns:
    """Base of dataclasses whose fields are arrays (n, ...) in one order."""

    __slots__ = ()

    def __len__(self) -> int:
        mine: Any = self
        return len(getattr(self, fields(mine)[0].name))

    def where(self, which: np.ndarray) -> Self:
        """The rows that a mask or an array of positions picks."""
        mine: Any = self
        return type(self)(*(getattr(self, f.name)[which] for f in fields(mine)))
