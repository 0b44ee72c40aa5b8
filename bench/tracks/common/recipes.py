"""Recipes: how a data set is trained with, unless the run settings say otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Recipe = TypeVar("Recipe", bound=DataclassInstance)


def overridden(recipe: Recipe, run: Any, *names: str) -> Recipe:
    """The recipe, with what the run settings say in place of its own; a setting of 0 leaves it as it is.

    Args:
        recipe: a frozen dataclass.
        run: the track's run settings.
        names: fields that the recipe and the run settings have in common and that a run may set.
    """
    return replace(recipe, **{name: value for name in names if (value := getattr(run, name))})
