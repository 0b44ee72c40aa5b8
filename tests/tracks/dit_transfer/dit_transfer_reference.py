"""A diffusion transformer of some thousand numbers and pictures of noise, for the tests of `dit_transfer`."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import numpy as np
import torch

from bench.contract import Score
from bench.engine.context import RunContext, set_seed
from bench.nn.diffusion import to_pictures
from bench.registry import methods_in
from bench.tracks.dit_transfer import stages
from bench.tracks.dit_transfer.data import Pixels, TransferData
from bench.tracks.dit_transfer.nets.dit import DiT, DiTConfig
from bench.tracks.dit_transfer.settings import Recipe, Run

FILES = (
    "methods.diff_tuning",
    *(
        f"baselines.dit_transfer.{n}"
        for n in (
            "adapter", "bitfit", "difffit", "distillation", "full", "lora", "min_snr", "p2", "scratch",
            "untuned", "vpt_deep",
        )
    ),
)  # fmt: skip
METHODS = {m.id: m for file in FILES for m in methods_in(importlib.import_module(f"bench.{file}"))}
ROWS = {row: m for m in METHODS.values() for row in m.rows()}
SIDE, N, BANK = 8, 45, 17
CLASSES = ("dark", "dim", "dusky")
#: Pictures of the target are below it, those of the bank above.
BORDER = 150
SMALL = DiTConfig(size=SIDE, classes=5, patch=2, layers=2, width=16, heads=2)


def network():
    """The pre-trained one, the same at each call, with weights that are nowhere zero."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(5)
        model = DiT(SMALL)
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.15)
    model.relabel(len(CLASSES))
    return model.eval()


class Networks:
    """`network`, keeping what it gave out."""

    def __init__(self) -> None:
        self.given: list[DiT] = []

    def __call__(self) -> DiT:
        self.given.append(network())
        return self.given[-1]


class Read(Pixels):
    """Pictures that know which of them were read."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__(images)
        object.__setattr__(self, "rows", [])

    def batch(self, rows, draw):
        self.rows.append(rows.tolist())
        return super().batch(rows, draw)


def given(**changes):
    """What a method is given."""
    recipe = Recipe(
        **{
            "steps": 6, "batch": 32, "lr": 1e-3, "small_lr": 1e-2, "samples": 7, "chain": 4, "bank": BANK,
            "guidance": 1.0, "average": "none", **changes,
        }
    )  # fmt: skip
    rng = np.random.default_rng(0)
    y = np.arange(N, dtype=np.int64) % len(CLASSES)
    images = rng.integers(0, 40, (N, SIDE, SIDE, 3)) + 40 * y[:, None, None, None]
    bank = Read(rng.integers(BORDER, 256, (BANK, SIDE, SIDE, 3)).astype(np.uint8))
    return TransferData(
        target="squares", classes=CLASSES, x=Read(images.astype(np.uint8)), y=y, recipe=recipe,
        pretrained=Networks(), bank=lambda folder: bank, decode=to_pictures,
    )  # fmt: skip


def context(folder: Path, seed=0, checkpoints=None, scorer=None):
    """The engine's own context, with a folder for the bank."""
    return RunContext(
        seed=seed, device="cpu", amp=False, workdir=folder, run=Run(), log=logging.getLogger("test"),
        scorer=scorer or (lambda answer, history: Score({})), stages={stages.BANK: folder},
        checkpoints=checkpoints,
    )  # fmt: skip


def answered(row, folder, data, ctx=None, seed=0, **hp):
    """A row's answer, started as a cell is."""
    set_seed(seed)
    method = ROWS[row]
    return method.fn(data, {**method.hp_of(row), **hp}, ctx or context(folder, seed))


def pictures_of(answer, labels=(0, 1, 2, 0, 1, 2, 0), seed=0, switch=None):
    """What an answer draws, of the same noise at each call."""
    draw, y = torch.Generator().manual_seed(seed), np.array(labels)
    return answer["sample"](y, draw) if switch is None else answer["relay"](switch, y, draw)


def numbers(model):
    """Its parameters by name, as they are now."""
    return {k: p.detach().clone() for k, p in model.weights().items()}
