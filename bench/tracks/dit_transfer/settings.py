"""Settings of the track. Only what the paper's released code and model cards say is certain.

Source: Diff-Tuning (arXiv 2406.00773) and its released code. How pictures were sampled and
compared (sampler, steps, guidance, number, size of the bank) could not be read: `PAPER` says what is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.tracks.common.recipes import overridden

#: The laptop's targets, near to far from the pre-training's pictures; all others are the paper's.
LAPTOP = ("icons", "fluent-3d", "flags", "line-art", "avatars", "photos", "relief", "earth")


@dataclass(frozen=True, slots=True)
class Grid:
    """Which tasks there are: one for each of the ``targets``."""

    targets: tuple[str, ...] = LAPTOP


@dataclass(frozen=True, slots=True)
class Run:
    """How a cell is run. 0 = what the target's `Recipe` says.

    ``steps``, ``batch``, ``lr``, ``small_lr``, ``samples``, ``chain``, ``bank``: see `Recipe`; the same for
    every row. ``pictures``: at most so many training and as many held-out pictures; 0 = all. ``switches``:
    time steps at which a row that offers a relay hands over to the pre-trained network. ``weights``, ``vae``,
    ``inception``: files and folders of the paper's networks, below the folder of the data sets. ``compiled``:
    `torch.compile` the network.
    """

    steps: int = 0
    batch: int = 0
    lr: float = 0.0
    small_lr: float = 0.0
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
    learning rate, constant, of rows that train everything; ``small_lr``: of rows that train a small part.
    ``samples``: number of pictures that are sampled for the scorer, with classes as frequent as in training;
    ``chain``: reverse steps of each; ``guidance``: scale of classifier-free guidance (1: none, so one pass of
    the network a step in place of two). ``bank``: number of pictures that the pre-trained network samples for
    methods that retain what it knows. ``drop``: share of labels dropped in training. ``average``: decay a
    step of the moving average of the weights from which pictures are sampled, 0 for none. ``features``:
    pixels a side of the pictures that EfficientNet-Lite0 takes.
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
    average: float = 0.0
    features: int = 128


# A cell takes half a minute, half of it drawing: without guidance, which would double that, and without a
# moving average, whose horizon would be longer than the training. Rates were chosen by KID-lite0 to training
# pictures (100 steps, one seed; icons, earth): full 3e-4 .998, .230; 1e-3 .700, .234; 2e-3 1.017, .333.
# BitFit and LoRA r8 together: 3e-3 .906, .294; 1e-2 .877, .272.
_LAPTOP = Recipe(
    steps=70, batch=32, lr=1e-3, small_lr=1e-2, samples=512, chain=20, bank=1024, guidance=1.0
)  # fmt: skip
#: From the released code: steps, batch, rates (1e-3 is DiffFit's, here of every small part), average, share
#: of labels dropped. Assumed: 10,000 samples in 50 steps with guidance 1.5, a bank of 10,000.
PAPER = Recipe(
    steps=24_000, batch=32, lr=1e-4, small_lr=1e-3, samples=10_000, chain=50, bank=10_000, average=0.9999,
    features=224,
)  # fmt: skip


def recipe(target: str, run: Run) -> Recipe:
    """The recipe of a target, with the numbers of the run settings in place of its own."""
    of_target = _LAPTOP if target in LAPTOP else PAPER
    return overridden(of_target, run, "steps", "batch", "lr", "small_lr", "samples", "chain", "bank")
