"""Settings of the track. Of the paper's set-up only what its released code and sourced cards say is certain.

Source: Diff-Tuning (arXiv 2406.00773) and its released code (sheet §3). How pictures were drawn and compared
(sampler, steps, guidance, number, size of the bank) could not be read: `PAPER` names what is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: The laptop's targets, near to far from the pre-training's pictures; all others are the paper's.
LAPTOP = ("icons", "fluent-3d", "flags", "line-art", "avatars", "photos", "relief", "earth")


@dataclass(frozen=True, slots=True)
class Grid:
    """Which tasks: targets, one task each."""

    targets: tuple[str, ...] = LAPTOP


@dataclass(frozen=True, slots=True)
class Run:
    """How a cell is run. 0 = what the target's `Recipe` says.

    ``steps``, ``batch``, ``lr``, ``small_lr``: of every row alike. ``samples``, ``chain``: pictures drawn to
    be scored, and reverse steps of each. ``pictures``: at most so many training and as many held-out ones;
    0 = all. ``switches``: time steps at which a row that can hands over to the pre-trained network.
    ``weights``, ``vae``, ``inception``: files and folders of the paper's networks, below that of the data
    sets. ``compiled``: `torch.compile` the network.
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
    """How every row trains on a target, and how what it learnt is drawn and compared.

    ``batch``: pictures a step, those of a bank included. ``lr``: AdamW's, constant, of rows that train
    everything; ``small_lr``: of rows that train a small part. ``drop``: share of labels dropped. ``average``:
    decay a step of the moving average that is drawn from, 0 for none. ``samples`` pictures are drawn in
    ``chain`` steps with that ``guidance`` (1: none, so one pass of the network a step in place of two), with
    classes as frequent as in training. ``bank``: pictures that the pre-trained network draws for methods that
    keep its knowledge. ``features``: pixels a side that EfficientNet-Lite0 sees.
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
    """How a target is trained on and drawn, the run's own numbers put in."""
    found = _LAPTOP if target in LAPTOP else PAPER
    named = {k: getattr(run, k) for k in ("steps", "batch", "lr", "small_lr", "samples", "chain", "bank")}
    return replace(found, **{k: v for k, v in named.items() if v})
