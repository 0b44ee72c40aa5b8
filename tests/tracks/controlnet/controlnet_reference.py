"""A base network of some thousand numbers and pictures of noise, for the tests of `controlnet`."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import numpy as np
import torch

from bench.engine.context import RunContext, set_seed
from bench.nn.diffusion import Diffusion
from bench.registry import methods_in
from bench.tracks.controlnet import stages
from bench.tracks.controlnet.data import Base, ControlData, Controls, Truth
from bench.tracks.controlnet.nets import unet
from bench.tracks.controlnet.settings import Recipe, Run, UNetConfig
from bench.tracks.controlnet.sources.laptop import Aligned

FILES = (
    "methods.diff_tuning_controlnet",
    *(f"baselines.controlnet.{n}" for n in ("concat", "controlnet", "frozen", "min_snr", "p2")),
)
METHODS = {m.id: m for file in FILES for m in methods_in(importlib.import_module(f"bench.{file}"))}
ROWS = {row: m for m in METHODS.values() for row in m.rows()}
SIDE, N, BANK = 16, 20, 11
#: Pictures for training are below it, those of the bank above.
BORDER = 120
SMALL = UNetConfig(widths=(8, 8, 8), groups=4, token=4, heads=4)
COLOURS = np.array([[0, 0, 200], [0, 200, 0], [90, 90, 90]], np.uint8)


def network():
    """The pre-trained one, the same at each call."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(5)
        return unet.unet(SMALL).eval()


def encode(prompts):
    return torch.zeros(len(prompts), 1, SMALL.token)


def decode(x):
    return x.clamp(-1, 1).movedim(1, -1).numpy()


BASE = Base(
    unet=network, diffusion=Diffusion(unet.SCHEDULE), shape=(3, SIDE, SIDE), pixels=True, encode=encode,
    decode=decode,
)  # fmt: skip


def surfaces(n, seed=0):
    """Classes (n, SIDE, SIDE) that vary over a picture."""
    return np.random.default_rng(seed).integers(0, 3, (n, SIDE // 4, SIDE // 4)).repeat(4, 1).repeat(4, 2)


def one_hot(classes):
    return np.eye(3, dtype=np.float32)[classes]


def annotate(pictures):
    """The class whose colour is nearest, one-hot."""
    away = np.abs(pictures[..., None, :].astype(int) - COLOURS).sum(-1)
    return one_hot(away.argmin(-1))


class Given(Aligned):
    """Pictures without a null token of another width."""

    def batch(self, rows, generator):
        found = super().batch(rows, generator)
        return type(found)(found.x, found.maps, encode(("",) * len(rows)))


def given(steps=6, snapshots=(2, 4, 6), **changes):
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, BORDER, (N, SIDE, SIDE, 3), np.uint8)
    of_bank = rng.integers(BORDER + 1, 255, (BANK, SIDE, SIDE, 3), np.uint8)
    recipe = Recipe(
        **{"steps": steps, "batch": 5, "lr": 1e-3, "bank": BANK, "chain": 2, "tiles": 6, "samples": 8}
        | changes
    )
    return ControlData(
        condition="segmentation", channels=3, pictures=Given(pictures, one_hot(surfaces(N))), base=BASE,
        bank=lambda folder: Given(of_bank, one_hot(surfaces(BANK, 1))), recipe=recipe, snapshots=snapshots,
    )  # fmt: skip


def truth(**changes):
    classes = surfaces(8, 2)
    real = COLOURS[classes]
    return Truth(
        **{
            "condition": "segmentation", "asked": Controls(one_hot(classes), ("",) * 8), "real": real,
            "reread": annotate(real[:6]), "annotate": annotate, "features": np.eye(9, 1280, dtype=np.float32),
            "size": 32, "recipe": given().recipe, "snapshots": (2, 4, 6), "threshold": 0.5, "device": "cpu",
        }
        | changes
    )  # fmt: skip


def context(folder, seed=1, scorer=None, checkpoints=None):
    return RunContext(
        seed=seed, device="cpu", amp=False, workdir=Path(folder), run=Run(), log=logging.getLogger("test"),
        scorer=scorer or (lambda answer, history: Nothing), stages={stages.BANK: Path(folder)},
        checkpoints=checkpoints,
    )  # fmt: skip


class Nothing:
    """A score without numbers."""

    metrics: dict[str, float] = {}


def answered(row, folder, data=None, seed=1, scorer=None):
    """The answer of a row, and its context."""
    ctx = context(folder, seed, scorer)
    set_seed(seed)
    method = ROWS[row]
    return method.fn(data or given(), method.hp_of(row), ctx), ctx
