"""What a method of this track is given, and the ground truth that its answer is scored with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.tracks.common.pictures import Labelled
from bench.tracks.ood.settings import Recipe, Setting

if TYPE_CHECKING:
    from bench.tracks.ood.nets.clip import DualEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPictures(Labelled):
    """Pictures (S, S, 3) uint8 of the size that the encoder takes, with their labels.

    ``ids``: (n,) strings, unique; the same picture has the same id for every method.
    """

    ids: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class OodData:
    """The source domains of a task, and the encoder to start from. Nothing of the target is here.

    ``train``, ``val``: pictures of the source domains; no picture of one shows what one of the other shows.
    ``classes``: names of the classes in them: all of the task's, or its base half. ``domains``: names of the
    source domains, which ``domain`` counts. ``template``: the prompt, with ``{}`` in place of a class name.
    ``recipe``: how every row that trains by gradients does so. ``encoder``: gives a fresh `DualEncoder` at
    each call.
    """

    setting: Setting
    dataset: str
    recipe: Recipe
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    template: str
    train: LabelledPictures
    val: LabelledPictures
    encoder: Callable[[], DualEncoder]

    def prompts(self, names: Sequence[str]) -> list[str]:
        """The prompts of C class names, whether they are in ``classes`` or not: C texts."""
        return [self.template.format(n) for n in names]

    def trained_with(self, steps: int, lr: float) -> OodData:
        """The same data with these numbers in place of the recipe's; a 0 leaves the recipe's."""
        recipe = self.recipe
        changed = replace(recipe, steps=steps or recipe.steps, lr=lr or recipe.lr)
        return replace(self, recipe=changed)


@dataclass(frozen=True, slots=True)
class Target:
    """Test pictures of one name, which no method sees; ``y`` counts `Truth.names`."""

    name: str
    labelled: LabelledPictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The ground truth of a task, which only the scorer sees.

    ``names``: of all classes; the first ``base`` of them are in training. ``val``: the validation pictures.
    ``targets``: the first is ranked, the others share its artist and are only shown beside it.
    ``redistributable``: the licence of the first target's pictures allows a board to print them.
    """

    setting: Setting
    names: tuple[str, ...]
    base: int
    val: LabelledPictures
    targets: tuple[Target, ...]
    redistributable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """A task's data before it is divided between `OodData` and `Truth`; the fields are explained there."""

    names: tuple[str, ...]
    base: int
    domains: tuple[str, ...]
    template: str
    train: LabelledPictures
    val: LabelledPictures
    targets: tuple[Target, ...]
    redistributable: bool = False
