"""A dual encoder of a few thousand numbers and pictures of four colours, for the tests of the track `ood`."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from bench.engine.context import RunContext, set_seed
from bench.tracks.common.pictures import in_memory
from bench.tracks.ood import stages, training
from bench.tracks.ood.data import LabelledPictures, OodData, Target, Truth
from bench.tracks.ood.nets.clip import DualEncoder, Preprocess, TextTower
from bench.tracks.ood.settings import Recipe, Run

SIDE, D, W = 16, 32, 12
#: A power of two: scaling by it rounds nothing, so that equal formulas are equal bit for bit.
SCALE = 64.0
NAMES = ("blue square", "green grass", "red car", "white big house", "yellow sun")
COLOURS = np.array([(40, 60, 220), (40, 200, 60), (220, 50, 40), (235, 235, 235), (230, 220, 50)])
DOMAINS = ("dark", "plain", "noisy")
TEMPLATE = "a photo of a {}"
_WORDS, _LIMIT = 500, 32


class Words(TextTower):
    """Words by their checksum, positions, one layer, the mean over the tokens."""

    limit, width = _LIMIT, W

    def __init__(self) -> None:
        super().__init__()
        self.table, self.positions = nn.Embedding(_WORDS, W), nn.Embedding(_LIMIT, W)
        self.mixed, self.proj = nn.Linear(W, W), nn.Linear(W, D, bias=False)

    def embed(self, tokens):
        return self.table(tokens), tokens != 0

    def pool(self, embeddings, mask):
        at = torch.arange(embeddings.shape[1])
        h = torch.tanh(self.mixed(embeddings) + self.positions(at)) * mask.unsqueeze(-1)
        return h.sum(1) / mask.sum(1, keepdim=True)

    def project(self, pooled):
        return self.proj(pooled)

    def projection(self):
        return {"weight": self.proj.weight}


def tokenize(texts):
    """1, the words, 2, and zeros up to the limit."""
    out = torch.zeros(len(texts), _LIMIT, dtype=torch.long)
    for row, text in zip(out, texts, strict=True):
        words = [3 + zlib.crc32(w.encode()) % (_WORDS - 3) for w in text.split()]
        row[: len(words) + 2] = torch.tensor([1, *words, 2])
    return out


def encoder():
    """A fresh encoder, the same at each call; its batch statistics are those of no batch."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(5)
        visual = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, D),
        )  # fmt: skip
        visual[1].running_mean.normal_(0, 0.2)
        visual[1].running_var.uniform_(0.5, 2)
        preprocess = Preprocess(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
        return DualEncoder(visual, Words(), tokenize, preprocess, SCALE)


class Encoders:
    """`encoder`, keeping what it gave out."""

    def __init__(self) -> None:
        self.given: list[DualEncoder] = []

    def __call__(self) -> DualEncoder:
        self.given.append(encoder())
        return self.given[-1]


def pictures(y, domain, seed):
    """Squares of a class's colour, darker or noisier by domain: (n, SIDE, SIDE, 3) uint8."""
    rng = np.random.default_rng(seed)
    base = COLOURS[y][:, None, None] * np.array([0.5, 1.0, 0.9])[domain][:, None, None, None]
    noise = rng.normal(0, 1, (len(y), SIDE, SIDE, 3)) * np.array([10, 25, 60])[domain][:, None, None, None]
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def labelled(each, classes, domains, seed):
    """``each`` pictures of every class in every domain, domain by domain; a domain's number is its place."""
    y = np.tile(np.repeat(np.arange(classes), each), len(domains))
    where = np.repeat(np.arange(len(domains)), each * classes)
    images = pictures(y, np.array([DOMAINS.index(d) for d in domains])[where], seed)
    ids = np.array([f"{seed}/{domains[w]}/{i}" for i, w in enumerate(where)])
    return LabelledPictures(inputs=in_memory(images, SIDE, 0.7), y=y, domain=where, ids=ids)


def given(setting="shift", **changes):
    """What a method is given: two domains, all five classes or, but in a domain shift, the first three."""
    base = len(NAMES) if setting == "shift" else 3
    recipe = Recipe(**{"batch": 8, "lr": 1e-3, "steps": 6, "beta": 0.5, **changes})
    return OodData(
        setting=setting, dataset="squares", recipe=recipe, classes=NAMES[:base], domains=DOMAINS[:2],
        template=TEMPLATE, train=labelled(6, base, DOMAINS[:2], 1), val=labelled(2, base, DOMAINS[:2], 2),
        encoder=Encoders(),
    )  # fmt: skip


def truth(setting="shift"):
    """What the scorer keeps: a third domain, with all classes."""
    data = given(setting)
    target = Target("noisy", labelled(4, len(NAMES), DOMAINS[2:], 3))
    return Truth(setting=setting, names=NAMES, base=len(data.classes), val=data.val, targets=(target,))


def context(folder: Path, data: OodData, seed=0, run=None, checkpoints=None, model=None):
    """The engine's own context, with the features of the frozen encoder as the stage gives them."""
    place = folder / "features"
    if not place.is_dir():
        place.mkdir()
        model = model or encoder()
        found = torch.cat([training.encoded(model, data.val), training.encoded(model, data.train)])
        save_file({"features": found}, place / stages.FILE)
        np.save(place / stages.IDS, np.concatenate([data.val.ids, data.train.ids]))
    return RunContext(
        seed=seed, device="cpu", amp=False, workdir=folder, run=run or Run(), log=logging.getLogger("test"),
        scorer=lambda answer, history: None, stages={stages.FEATURES: place}, checkpoints=checkpoints,
    )  # fmt: skip


def answered(method, folder, data, seed=0, model=None, **hp):
    """A method's answer, started as a cell is; ``model``: of which the frozen features are."""
    ctx = context(folder, data, seed, model=model)
    set_seed(seed)
    return method.fn(data, {**method.hp_of(method.rows()[0]), **hp}, ctx)
