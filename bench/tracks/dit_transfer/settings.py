"""Settings of the track.

Source: Diff-Tuning (arXiv 2406.00773, final version) and its released code. What neither says is assumed, and
named so beside the recipe that has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.contract import BenchError
from bench.errors import nearest
from bench.tracks.common.recipes import overridden

#: The laptop's targets, near to far from the pre-training's pictures; all others are the paper's.
LAPTOP = (
    "icons", "fluent-flat", "fluent-3d", "line-art", "flags", "avatars", "photos", "relief", "earth",
)  # fmt: skip
#: Those that draw what the pre-training's pictures draw, objects and signs on white, in another style.
NEAR = ("icons", "fluent-flat", "fluent-3d", "line-art")
#: How the learning rate goes, and which average of the weights pictures are sampled from.
SCHEDULES, AVERAGES = ("constant", "cosine"), ("none", "last-third", "ema")


@dataclass(frozen=True, slots=True)
class Grid:
    """Which tasks there are: one for each of the ``targets``."""

    targets: tuple[str, ...] = LAPTOP


@dataclass(frozen=True, slots=True)
class Run:
    """How a cell is run. 0 = what the target's `Recipe` says.

    ``steps``, ``batch``, ``lr``, ``small_lr``, ``schedule``, ``average``, ``samples``, ``chain``, ``bank``:
    see `Recipe`; the same for every row; "" too is what the recipe says. ``pictures``: at most so many
    training and as many held-out pictures; 0 = all. ``switches``: time steps at which a row that offers a
    relay hands over to the pre-trained network. ``weights``, ``vae``, ``inception``: files and folders of the
    paper's networks, below the folder of the data sets. ``compiled``: `torch.compile` the network.
    """

    steps: int = 0
    batch: int = 0
    lr: float = 0.0
    small_lr: float = 0.0
    schedule: str = ""
    average: str = ""
    samples: int = 0
    chain: int = 0
    bank: int = 0
    pictures: int = 0
    switches: tuple[int, ...] = (250, 500, 750)
    weights: str = "dit/DiT-XL-2-256x256.pt"
    vae: str = "dit/sd-vae-ft-ema"
    inception: str = "inception/pt_inception-2015-12-05-6726825d.pth"
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """How every row trains on a target, and how pictures are sampled from what it trained and compared.

    ``steps``: optimisation steps. ``batch``: pictures a step, those of a bank included. ``lr``: AdamW's
    learning rate of rows that train everything; ``small_lr``: of rows that train a small part; ``schedule``:
    how both go, of `SCHEDULES`. ``average``: which average of the weights pictures are sampled from, of
    `AVERAGES` (`bench.tracks.dit_transfer.training.Average`); ``decay``: a step of the exponential one.
    ``samples``: number of pictures that are sampled for the scorer, with classes as frequent as in training;
    ``chain``: reverse steps of each; ``guidance``: scale of classifier-free guidance (1: none, so one pass of
    the network a step in place of two). ``bank``: number of pictures that the pre-trained network samples for
    methods that retain what it knows. ``drop``: share of labels dropped in training. ``features``: pixels a
    side of the pictures that EfficientNet-Lite0 takes.
    """

    steps: int
    batch: int
    lr: float
    small_lr: float
    samples: int
    chain: int
    bank: int
    guidance: float = 1.5
    drop: float = 0.1
    schedule: str = "constant"
    average: str = "last-third"
    decay: float = 0.0
    features: int = 128


# A cell takes 40 s of one processor, three quarters of it training: pictures are sampled without guidance,
# which would double that. The last iterate of a constant rate is mostly noise: over seeds KID-lite0 had a
# standard deviation of .107 at 70 and at 210 steps (rate 1e-3), and of .008 by the mean of the last third.
# The rate of rows that train everything was chosen by full fine-tuning's KID-lite0 to training pictures (that
# mean, 210 steps, seed 0; fluent-3d, earth): 1e-3 .809, .200; 3e-4 .684, .190. That of small parts is ten
# times as large, as in the paper. Batches of 32 for every row; DiffFit's are 64 in the paper.
_LAPTOP = Recipe(
    steps=210, batch=32, lr=3e-4, small_lr=3e-3, samples=256, chain=20, bank=1024, guidance=1.0
)  # fmt: skip
#: From the paper: 24,000 steps, 10,000 samples in 50 steps, guidance 1.5, and for DiffFit ten times the rate
#: (here for every small part). From the released code: the rates, the exponential average, the share of
#: labels dropped. Choices that neither says, or that were made so that all rows train alike: DiffFit has
#: batches of 32 here as all others, in the paper 64. Guidance 1.5 is taken in DiT's scale, where 1 is none;
#: the paper's formula (1 + w) e_c - w e_u would call that w = 0.5. The size of the bank is in a table that
#: could not be read: here 10,000, where the paper's ablation goes from 5,000 to 200,000.
PAPER = Recipe(
    steps=24_000, batch=32, lr=1e-4, small_lr=1e-3, samples=10_000, chain=50, bank=10_000, average="ema",
    decay=0.9999, features=224,
)  # fmt: skip


def group(target: str) -> str:
    """``near`` or ``far`` of a target of the laptop; "" of the paper's, which has no such groups."""
    return ("near" if target in NEAR else "far") if target in LAPTOP else ""


def recipe(target: str, run: Run) -> Recipe:
    """The recipe of a target, with the numbers of the run settings in place of its own.

    Raises:
        BenchError: an unknown ``schedule`` or ``average``.
    """
    of_target = _LAPTOP if target in LAPTOP else PAPER
    for name, known in (("schedule", SCHEDULES), ("average", AVERAGES)):
        if (given := getattr(run, name)) and given not in known:
            raise BenchError(
                f"dit_transfer: run.{name} is {given!r}, expected one of {', '.join(known)}"
                f"{nearest(given, known)}"
            )
    return overridden(
        of_target, run, "steps", "batch", "lr", "small_lr", "schedule", "average", "samples", "chain", "bank"
    )
