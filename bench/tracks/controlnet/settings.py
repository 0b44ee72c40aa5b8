"""Settings of the track.

Source: Diff-Tuning (arXiv 2406.00773, final version), section on ControlNet. The Stable Diffusion version,
the learning rate, the size of the bank and the thresholds stand in tables that could not be read: what is set
here in their place is named ``assumed`` on the board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from bench.contract import BenchError
from bench.errors import nearest
from bench.tracks.common.recipes import overridden

#: What a picture can be asked to follow, and the measure of agreement with it (`measures.MEASURES`).
CONDITIONS: Mapping[str, str] = {
    "edge": "ssim", "sketch": "ssim", "depth": "mse", "normal": "mse", "segmentation": "accuracy",
}  # fmt: skip
#: Tasks of the laptop, each on the map of the world that holds its condition: heights and slopes cannot be
#: read back from the photograph.
LAPTOP: Mapping[str, tuple[str, str]] = {
    "edge": ("edge", "photo"), "sketch": ("sketch", "photo"), "segmentation": ("segmentation", "photo"),
    "depth": ("depth", "relief"), "normal": ("normal", "relief"),
}  # fmt: skip
#: The paper's six tasks.
PAPER: Mapping[str, tuple[str, str]] = {
    **{f"coco-{condition}": (condition, "coco") for condition in CONDITIONS},
    "ade20k-segmentation": ("segmentation", "ade20k"),
}
TASKS: Mapping[str, tuple[str, str]] = {**LAPTOP, **PAPER}
#: Which part of the pictures is looked at: the one that the board is about, or the one by which settings are
#: chosen. No row, no base network and no annotator is trained on either.
LOOKS_AT = ("test", "validation")


def _rising(steps: tuple[int, ...]) -> tuple[int, ...]:
    if list(steps) != sorted(set(steps)) or any(s < 1 for s in steps):
        raise ValueError("expected numbers of steps that rise, from 1 on")
    return steps


@dataclass(frozen=True, slots=True)
class Grid:
    """Which tasks there are: one for each of the ``conditions``, by the names of `TASKS`."""

    conditions: tuple[str, ...] = tuple(LAPTOP)


@dataclass(frozen=True, slots=True)
class Run:
    """How a cell is run. 0 = what the condition's `Recipe` says.

    ``steps``, ``batch``, ``lr``, ``chain``, ``bank``, ``samples``: see `Recipe`; the same for every row.
    ``snapshots``: steps at which agreement is looked at; none: `snapshots_of`. ``threshold``: the share of
    the way from the floor to the ceiling at which a condition counts as followed. ``looks_at``: of
    `LOOKS_AT`. ``pictures``: at most so many training and as many held-out pictures; 0 = all. ``reader``:
    steps in which the laptop's annotator of heights, slopes and surfaces is trained. ``size``: pixels a side
    of the paper's photographs. ``diffusion``, ``annotators``, ``coco``, ``ade20k``: folders of the paper's
    networks and data sets, below the folder of the data sets.
    """

    steps: Annotated[int, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(ge=0)] = 0.0
    chain: Annotated[int, Field(ge=0)] = 0
    bank: Annotated[int, Field(ge=0)] = 0
    samples: Annotated[int, Field(ge=0)] = 0
    snapshots: Annotated[tuple[int, ...], AfterValidator(_rising)] = ()
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    looks_at: str = "test"
    pictures: int = 0
    reader: int = 600
    size: Annotated[int, Field(ge=64, multiple_of=64)] = 512
    diffusion: str = "stable-diffusion-v1-5"
    annotators: str = "annotators"
    coco: str = "coco"
    ade20k: str = "ADEChallengeData2016"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How every row trains on a condition, and how its pictures are sampled and looked at.

    ``steps``: optimisation steps of ``batch`` pictures, those of a bank included. ``lr``: AdamW's learning
    rate, constant. ``decay``: at each step, of the running average of the weights that pictures are sampled
    from. ``chain``: reverse steps of DDIM; ``guidance``: scale of classifier-free guidance by the prompt (1:
    none). ``tiles``: number of held-out pictures whose conditions are followed at a snapshot. ``samples``:
    number of pictures that are sampled in the end for the distance to real ones. ``bank``: number of pictures
    that the pre-trained network samples for methods that retain what it knows. ``first``, ``dense``,
    ``snapshots``: see `snapshots_of`. ``shuffles``: shifts of the conditions that the floor is averaged over.
    """

    steps: int
    batch: int
    lr: float
    bank: int
    decay: float = 0.95
    chain: int = 10
    guidance: float = 1.0
    tiles: int = 64
    samples: int = 128
    first: int = 5
    dense: int = 60
    snapshots: int = 20
    shuffles: int = 8


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """The size of the laptop's base networks.

    ``widths``: channels of its levels. ``groups``: of each norm. ``token``: width of the one token, zeros,
    that stands for no prompt. ``heads``: of the attention in the middle.
    """

    widths: tuple[int, ...] = (16, 32, 32)
    groups: int = 8
    token: int = 8
    heads: int = 8


#: How the laptop's base networks are noised and what they predict, as `bench.nn.diffusion.Schedule` takes it.
#: A network of twice their size that predicted the noise gave noise after 8 steps of the sampler.
NOISE: Mapping[str, Any] = {"steps": 1_000, "betas": "squaredcos_cap_v2", "prediction": "v_prediction"}


@dataclass(frozen=True, slots=True)
class ReaderRecipe:
    """How the laptop's annotator of heights, slopes and surfaces is trained.

    AdamW, the rate falling along a cosine; mean squares, for classes cross-entropy.
    """

    steps: int = 600
    batch: int = 32
    lr: float = 3e-3
    seed: int = 0


# The rate with the fewest steps until a share of .5, and among equals the largest mean share over 600 steps,
# on the validation tiles, with the row `controlnet` and seed 41, which no board has. No other row had run.
#
#   rate          1e-3        3e-3        1e-2
#   segmentation  107, .674   142, .618   337, .403
#   depth         190, .663    80, .715    80, .604
#   normal        107, .713    80, .789    55, .798
#
# Edges and sketches come to it at no rate. Their mean shares over 1,000 steps are .104 and .056 at 1e-3, .081
# and .032 at 3e-3, .039 and -.006 at 1e-2; after 2,000 steps at 3e-3 the share is .17 and .13. So their steps
# to convergence are bounds, which a longer training would only make higher: they train as long as the others.
#
# 400 steps are at least twice as many as the reference takes to a share of .75 there. Looks stand close where
# it passes .5; with 13 of them they cost a third of a cell, which takes about 100 s of one processor.
_FOLLOWED = Recipe(steps=400, batch=16, lr=3e-3, bank=1_024, first=12, dense=120, snapshots=13)
_NOT_FOLLOWED = replace(_FOLLOWED, lr=1e-3, first=40, dense=200, snapshots=8)
_LAPTOP: Mapping[str, Recipe] = {
    "edge": _NOT_FOLLOWED, "sketch": _NOT_FOLLOWED,
    "segmentation": replace(_FOLLOWED, lr=1e-3), "depth": _FOLLOWED,
    "normal": replace(_FOLLOWED, lr=1e-2, first=8, dense=80),
}  # fmt: skip
#: From the paper: 15,000 steps (sketch 5,000, ADE20K 20,000) of 4 pictures. Assumed: the rate (ControlNet's
#: own, 1e-5), the bank's size, the steps and the scale of the sampler, the average, and the snapshots, when
#: and of how many pictures.
_PAPER = Recipe(
    steps=15_000, batch=4, lr=1e-5, bank=5_000, decay=0.999, chain=50, guidance=7.5, tiles=64, samples=1_000,
    first=250, dense=3_000,
)  # fmt: skip
_PAPER_STEPS: Mapping[str, int] = {"coco-sketch": 5_000, "ade20k-segmentation": 20_000}
#: What a reader of a board needs before its numbers.
NOTES: Mapping[str, str] = {
    "scale": (
        "a share is how far a condition is followed. Its 0, the floor, is how well what is read from"
        " generated pictures agrees with the conditions of other pictures, which is chance; its 1, the"
        " ceiling, how well what is read from the real pictures agrees with their own. It may pass 1,"
        " since generated pictures can be easier to read than real ones"
    ),
    "pictures": "they are sampled from a running average of the weights, in each look from the same noise",
    "tests": (
        "ranks, letters and Δ are of mean steps, which the slowest tasks rule; the claim and the relative"
        " change are of logarithms, where each task counts alike. A seed gives all rows the same batches and"
        " the ControlNet's first weights"
    ),
    "rows": (
        "all rows train at the one learning rate of their condition, Joined input too, which trains the"
        " whole base at it. Min-SNR and P2 weigh the error in the noise, as their papers state them; a"
        " base that predicts the velocity, as the laptop's do, weighs noisy steps more by its own loss,"
        " and beside that they take weight off these (6 and 9 % are left for the noisiest 30 %). All"
        " forms of Diff-Tuning are charged the bank of samples, no-bank and curriculum too, which do not"
        " read it"
    ),
}
MODEL = (
    "edge, sketch and segmentation are of a satellite photograph of the Earth; depth and normal are of"
    " a map of shaded relief, since heights and slopes can hardly be read back from the photograph, and"
    " both are made of one set of heights. The base of each is a small U-Net in pixel space without"
    " prompts, pre-trained here on tiles of that map alone"
)
ASSUMED_LAPTOP = (
    "thresholds .5, .25 and .75, fixed before any run; learning rates; a bank of 1,024: the paper's tables of"
    " these could not be read; its thresholds were chosen by hand at a leap"
)
#: What of the paper's profile has no source, for the board.
ASSUMED = (
    "Stable Diffusion 1.5, learning rate 1e-5, a bank of 5,000, threshold .5, running average .999, DDIM in"
    " 50 steps at guidance 7.5, a snapshot every 250 steps to 3,000 and then geometric, UperNet for"
    " the Uniformer that no library holds: the paper's tables of these could not be read, or it says nothing."
    " Unlike ControlNet's own code: MiDaS sees pictures shrunk to 384 pixels, classes have colours of our own"
    " and not ADE20K's, latents are the encoder's means and not samples, and training keeps every prompt,"
    " of which ControlNet empties half"
)


def recipe(task: str, run: Run) -> Recipe:
    """The recipe of a task, with the numbers of the run settings in place of its own.

    Raises:
        BenchError: an unknown ``looks_at``, or snapshots beyond the last step.
    """
    if run.looks_at not in LOOKS_AT:
        raise BenchError(
            f"controlnet: run.looks_at is {run.looks_at!r}, expected one of {', '.join(LOOKS_AT)}"
            f"{nearest(run.looks_at, LOOKS_AT)}"
        )
    of_task = _LAPTOP.get(task) or overridden(_PAPER, _Steps(_PAPER_STEPS.get(task, 0)), "steps")
    found = overridden(of_task, run, "steps", "batch", "lr", "chain", "bank", "samples")
    if run.snapshots and run.snapshots[-1] > found.steps:
        raise BenchError(
            f"controlnet: run.snapshots ends at {run.snapshots[-1]}, expected at most the {found.steps} steps"
            f" of {task}"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Steps:
    steps: int


def snapshots_of(recipe: Recipe, run: Run) -> tuple[int, ...]:
    """The steps at which agreement is looked at; the last step is always one.

    Every ``first`` steps up to ``dense``, where rows differ most, then in equal ratios up to the last step,
    ``snapshots`` in all.
    """
    if run.snapshots:
        return tuple(dict.fromkeys((*run.snapshots, recipe.steps)))
    end = min(recipe.dense, recipe.steps)
    evenly = list(range(recipe.first, end + 1, recipe.first))
    left = recipe.snapshots - len(evenly)
    if recipe.steps > end and left > 0:
        evenly += [round(end * (recipe.steps / end) ** (k / left)) for k in range(1, left + 1)]
    return tuple(sorted({*evenly, recipe.steps}))


def condition(params: Mapping[str, Any]) -> str:
    """The condition that a task's parameters name."""
    return str(params["condition"])
