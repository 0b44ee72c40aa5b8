"""Training steps at the papers' sizes with random weights: a row of this suite against a plain PyTorch loop.

``python tests/perf/steps.py NAME [--device cuda] [--small]`` measures one benchmark and prints it as JSON;
``scripts/gpu.py`` runs them all. Both sides take the same batches, the same precision and the same number of
steps in one process, by turns. The row is called as the engine calls it, with data made here; its own speed
(reported in its answer) is taken. The plain loop is what one writes first: modules in a list, torch's
optimisers as they come.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import logging
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.registry import Registry

#: Dense bf16 operations a second from the makers' data sheets, by words of the device's name; the first line
#: whose words all occur in it counts.
PEAKS = (
    (("B200",), 2250e12),
    (("H200",), 989e12),
    (("H100", "PCIe"), 756e12),
    (("H100", "NVL"), 835e12),
    (("H100",), 989e12),
    (("A100",), 312e12),
    (("L40S",), 362e12),
    (("L4",), 121e12),
    (("A10",), 125e12),
    (("4090",), 165e12),
    (("3090",), 71e12),
)
ROUNDS = 3


def peak(device_name: str) -> float | None:
    """Dense bf16 operations a second that a card can do by its data sheet; None for one not in `PEAKS`."""
    words = set(re.split(r"[ -]", device_name))
    return next((rate for named, rate in PEAKS if words.issuperset(named)), None)


@dataclass
class Context:
    """What the engine hands to a row, as far as a benchmark needs it: nothing is kept or scored."""

    run: Any
    device: str
    amp: bool
    seed: int = 0
    workdir: Path = field(default_factory=Path.cwd)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("steps"))

    def snapshot(self, step: int, answer: Any) -> None:
        """Score nothing."""

    def checkpoint(self, state: Any) -> None:
        """Keep nothing."""

    def restore(self) -> None:
        """Start from the beginning."""

    def report(self, **numbers: float) -> None:
        """Report nothing."""


@dataclass
class Benchmark:
    """One training step in two forms.

    ``batch``: examples a step. ``steps``: of one timing. ``ours``: trains for so many steps and gives seconds
    a step. ``plain``: makes the plain loop: a function that does one step, and the number of its parameters.
    """

    batch: int
    steps: int
    ours: Callable[[int], float]
    plain: Callable[[], tuple[Callable[[], None], int]]


def row(track: str, name: str) -> Callable[..., dict[str, Any]]:
    """The function of a row, with the hyper-parameters that it declares."""
    method = Registry().row(track, name).method
    return lambda data, ctx: method.fn(data, method.hp_of(name), ctx)


def parameters(module: nn.Module) -> int:
    """How many numbers of a module are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


# ------------------------------------------------------------------------------------------- multi-embedding


class OneSet(nn.Module):
    """An embedding table with DCNv2's cross layers and projection."""

    def __init__(self, rows: int, dim: int, offsets: Tensor, run: Any) -> None:
        super().__init__()
        self.register_buffer("offsets", offsets)
        self.table = nn.Embedding(rows, dim)
        width = len(offsets) * dim
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(run.cross_layers))
        self.projection = nn.Sequential(
            nn.Linear(width, run.hidden), nn.BatchNorm1d(run.hidden), nn.ReLU(), nn.Dropout(run.dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Indices (B, N) -> (B, hidden)."""
        x0 = self.table(x + self.offsets).flatten(1)
        z = x0
        for layer in self.cross:
            z = x0 * layer(z) + z
        out: Tensor = self.projection(z)
        return out


class Looped(nn.Module):
    """Multi-embedding as one writes it first: a list of whole networks, called one after another."""

    def __init__(self, sets: int, dim: int, cardinalities: Sequence[int], run: Any) -> None:
        super().__init__()
        offsets = torch.tensor([0, *cardinalities[:-1]]).cumsum(0)
        self.sets = nn.ModuleList(OneSet(sum(cardinalities), dim, offsets, run) for _ in range(sets))
        self.rest = nn.Sequential(
            nn.Linear(run.hidden, run.hidden), nn.BatchNorm1d(run.hidden), nn.ReLU(),
            nn.Dropout(run.dropout), nn.Linear(run.hidden, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Indices (B, N) -> logits (B,)."""
        out: Tensor = self.rest(torch.stack([s(x) for s in self.sets]).mean(0)).squeeze(1)
        return out


def clicks(fields: int, rows: int, examples: int) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """A click log as skewed as Criteo's: cardinalities, indices (examples, fields), labels (examples,)."""
    rng = np.random.default_rng(0)
    sizes = np.sort(rng.lognormal(6, 3, fields))
    cardinalities = np.maximum(4, np.round(sizes / sizes.sum() * rows)).astype(int)
    cardinalities[-1] += rows - cardinalities.sum()
    x = np.stack([(c * rng.random(examples) ** 3).astype(np.int64) for c in cardinalities], axis=1)
    y = (rng.random(examples) < 0.25).astype(np.float32)
    return tuple(int(c) for c in cardinalities), x, y


def multi_embedding(device: str, *, small: bool) -> Benchmark:
    """DCNv2 with ten sets of ten dimensions over a million rows, 39 fields, batch 2,048, dense Adam."""
    from bench.tracks.embedding_scale.data import CtrData
    from bench.tracks.embedding_scale.settings import Run, with_width

    fields, rows, sets, dim, batch = (8, 20_000, 2, 4, 64) if small else (39, 1_080_000, 10, 10, 2_048)
    steps = 5 if small else 100
    run = with_width(Run(base_dim=dim, batch=batch, epochs=1), "criteo", "dcnv2")
    cardinalities, x, y = clicks(fields, rows, batch * steps)
    few = slice(0, batch)
    solve, amp = row("embedding_scale", "multi/dcnv2"), device == "cuda"

    def ours(n: int) -> float:
        names, part = tuple(f"f{i}" for i in range(fields)), slice(0, batch * n)
        data = CtrData("criteo", sets, names, cardinalities, x[part], y[part], x[few], y[few], x[few])
        return batch / float(solve(data, Context(run, device, amp))["examples_per_second"])

    def plain() -> tuple[Callable[[], None], int]:
        net = Looped(sets, dim, cardinalities, run).to(device)
        optimizer = torch.optim.Adam(net.parameters(), lr=run.lr, weight_decay=run.weight_decay)
        batches = endless(torch.split(torch.from_numpy(x).to(device), batch))
        labels = endless(torch.split(torch.from_numpy(y).to(device), batch))

        def step() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=amp):
                logits = net(next(batches))
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(logits.float(), next(labels)).backward()
            optimizer.step()

        return step, parameters(net)

    return Benchmark(batch, steps, ours, plain)


def endless(parts: Sequence[Any]) -> Iterator[Any]:
    """The parts, again and again."""
    while True:
        yield from parts


# ----------------------------------------------------------------------------------------------------- DiT


@dataclass
class Latents:
    """Latents (n, C, h, w) encoded before, in memory on the host, as the track's examples are."""

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """Those at ``rows``."""
        return self.values[torch.from_numpy(rows)]


def dit(device: str, *, small: bool) -> Benchmark:
    """DiT-XL/2, all weights, batch 32 of cached latents of 32 x 32 x 4, bf16, a moving average of weights."""
    from bench.tracks.dit_transfer.data import TransferData
    from bench.tracks.dit_transfer.nets.dit import DIT_XL_2, DiT, DiTConfig
    from bench.tracks.dit_transfer.settings import PAPER, Run

    tiny = DiTConfig(
        size=8, channels=4, classes=101, patch=2, layers=2, width=32, heads=2, learned_sigma=True
    )
    config = tiny if small else DIT_XL_2
    batch, steps, classes = (4, 3, 101) if small else (32, 20, 101)
    torch.manual_seed(0)
    start = DiT(config)
    start.relabel(classes)
    latents = Latents(torch.randn(8 * batch, *start.shape))
    y = np.random.default_rng(0).integers(0, classes, len(latents))
    train = row("dit_transfer", "full")

    def ours(n: int) -> float:
        data = TransferData(
            target="random", classes=tuple(map(str, range(classes))), x=latents, y=y,
            recipe=replace(PAPER, steps=n, batch=batch), pretrained=lambda: copy.deepcopy(start),
            bank=no_bank, decode=no_pictures,
        )  # fmt: skip
        return float(train(data, Context(Run(), device, device == "cuda"))["seconds_per_step"])

    def plain() -> tuple[Callable[[], None], int]:
        return diffusers_loop(start, latents.values[:batch], torch.from_numpy(y[:batch]), device)

    return Benchmark(batch, steps, ours, plain)


def no_bank(folder: Path) -> Any:
    """A row that was not asked for here wants pictures that the pre-trained network drew."""
    raise NotImplementedError


def no_pictures(latents: Tensor) -> np.ndarray:
    """Nothing is drawn in a benchmark of training."""
    raise NotImplementedError


def diffusers_loop(
    start: Any, latents: Tensor, labels: Tensor, device: str
) -> tuple[Callable[[], None], int]:
    """Diffusers' network as it comes, AdamW as it comes, a moving average parameter by parameter."""
    from diffusers import DDPMScheduler, DiTTransformer2DModel

    c = start.config
    with torch.device(device):
        net: Any = DiTTransformer2DModel(
            num_attention_heads=c.heads, attention_head_dim=c.width // c.heads, in_channels=c.channels,
            out_channels=2 * c.channels, num_layers=c.layers, sample_size=c.size, patch_size=c.patch,
            num_embeds_ada_norm=c.classes,
        ).train()  # fmt: skip
    average = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0)
    noising, x, y = DDPMScheduler(), latents.to(device), labels.to(device)

    def step() -> None:
        noise = torch.randn_like(x)
        t = torch.randint(noising.config["num_train_timesteps"], (len(x),), device=device)
        with torch.autocast(device, torch.bfloat16):
            out = net(noising.add_noise(x, noise, t), timestep=t, class_labels=y).sample
        optimizer.zero_grad()
        F.mse_loss(out[:, : c.channels].float(), noise).backward()
        optimizer.step()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), net.parameters(), strict=True):
                mean.mul_(0.9999).add_(now, alpha=1e-4)

    return step, parameters(net)


# ---------------------------------------------------------------------------------------------------- CLIP


@dataclass
class Ready:
    """Pictures (n, S, S, 3) uint8 cut before, in memory on the host: what is measured is no decoding."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Those at ``rows``."""
        out: np.ndarray = self.images[torch.from_numpy(rows)].numpy()
        return out

    def stream(self, batches: Any, seed: int, first: int) -> Iterator[Tensor]:
        """For each batch of positions its pictures."""
        for rows in batches:
            yield self.images[torch.from_numpy(rows)]


def clip_fine_tuning(device: str, *, small: bool) -> Benchmark:
    """CLIP ViT-B/16, the image tower against 345 class names, CLIPood's recipe: 36 pictures a step, bf16."""
    from bench.tracks.ood.data import LabelledPictures, OodData
    from bench.tracks.ood.settings import Recipe, Run

    steps, classes = (3, 5) if small else (50, 345)
    recipe = Recipe(batch=6) if small else Recipe()
    encoder = random_clip(small=small)
    batch, side, rng = recipe.batch, encoder.preprocess.size, np.random.default_rng(0)
    pictures = Ready(torch.randint(0, 256, (2 * batch, side, side, 3), dtype=torch.uint8))
    y, ids = rng.integers(0, classes, len(pictures)), np.arange(len(pictures)).astype(str)
    train = LabelledPictures(inputs=pictures, y=y, domain=np.arange(len(pictures)) % 3, ids=ids)
    names = tuple(f"thing {i}" for i in range(classes))
    tune = row("ood", "fine-tune")

    def ours(n: int) -> float:
        data = OodData(
            setting="shift", dataset="random", recipe=replace(recipe, steps=n), classes=names,
            domains=("a", "b", "c"), template="a photo of a {}.", train=train, val=train,
            encoder=lambda: copy.deepcopy(encoder),
        )  # fmt: skip
        return float(tune(data, Context(Run(), device, device == "cuda"))["seconds_per_step"])

    def plain() -> tuple[Callable[[], None], int]:
        model = copy.deepcopy(encoder).to(device)
        tower = model.visual.requires_grad_(True)
        optimizer = torch.optim.AdamW(tower.parameters(), lr=recipe.lr, weight_decay=0.1)
        texts = model.text_features([f"a photo of a {n}." for n in names])
        host, labels = pictures.images[:batch], torch.from_numpy(y[:batch])
        cut = model.preprocess
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (cut.mean, cut.std))

        def step() -> None:
            x = (host.to(device).permute(0, 3, 1, 2).float() / 255 - mean) / std
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                logits = model.logit_scale * F.normalize(tower(x).float(), dim=-1) @ texts.T
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels.to(device)).backward()
            optimizer.step()

        return step, parameters(tower)

    return Benchmark(batch, steps, ours, plain)


def random_clip(*, small: bool) -> Any:
    """CLIP ViT-B/16 (or a tiny one) with random weights, read from a file as the real ones are."""
    import open_clip
    from safetensors.torch import save_file

    from bench.tracks.ood.nets import clip

    config: Any = copy.deepcopy(dict(clip.VIT_B16))
    if small:
        config["embed_dim"] = 32
        config["vision_cfg"] |= {"image_size": 32, "layers": 2, "width": 64}
        config["text_cfg"] |= {"layers": 2, "width": 32, "heads": 2}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**copy.deepcopy(config), quick_gelu=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
        return clip.from_file(path, config, quick_gelu=True)


# ------------------------------------------------------------------------------------------------- measuring

BENCHMARKS: dict[str, Callable[..., Benchmark]] = {
    "multi-embedding": multi_embedding,
    "dit-xl-2": dit,
    "clip-vit-b16": clip_fine_tuning,
}


def measured(name: str, device: str, *, small: bool) -> dict[str, Any]:
    """Steps a second, peak memory and share of the card's peak of both sides, and the ratio of their speeds.

    Operations are counted in the plain loop, forward and backward, and taken for both: the arithmetic that a
    step asks for, whoever does it.
    """
    made = BENCHMARKS[name](device, small=small)
    operations, numbers = counted(made)
    ours, plain = Side(device), Side(device)
    ours.time(lambda: made.ours(2))  # loads kernels; not in the numbers
    ours.seconds.clear()
    for _ in range(ROUNDS):
        ours.time(lambda: made.ours(made.steps))
        plain.time(lambda: plain_seconds(made, device))
    rate = peak(torch.cuda.get_device_name()) if device == "cuda" else None
    return {
        "batch": made.batch, "steps": made.steps, "rounds": ROUNDS, "parameters": numbers,
        "tflop_per_step": operations / 1e12, "ours": ours.told(operations, rate),
        "plain": plain.told(operations, rate), "ratio": median(plain.seconds) / median(ours.seconds),
    }  # fmt: skip


class Side:
    """Timings of one side: seconds a step of each round, and the largest peak of device memory."""

    def __init__(self, device: str) -> None:
        self.cuda, self.seconds, self.bytes = device == "cuda", list[float](), 0

    def time(self, run: Callable[[], float]) -> None:
        """One round, with nothing of the last one on the device."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.seconds.append(run())
        if self.cuda:
            self.bytes = max(self.bytes, torch.cuda.max_memory_allocated())

    def told(self, operations: int, rate: float | None) -> dict[str, Any]:
        """As plain values; what cannot be known here is None."""
        each = median(self.seconds)
        return {
            "steps_per_second": 1 / each,
            "seconds": self.seconds,
            "peak_memory_gib": self.bytes / 2**30 if self.cuda else None,
            "share_of_peak": operations / each / rate if rate else None,
        }


def counted(made: Benchmark) -> tuple[int, int]:
    """Floating-point operations of one step of the plain loop, and the numbers that it trains."""
    step, numbers = made.plain()
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops(), numbers


def plain_seconds(made: Benchmark, device: str) -> float:
    """Seconds a step of the plain loop, after two that make the optimiser's states and load kernels."""
    step, _ = made.plain()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(2):
        step()
    wait()
    started = time.perf_counter()
    for _ in range(made.steps):
        step()
    wait()
    return (time.perf_counter() - started) / made.steps


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=list(BENCHMARKS))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the code")
    asked = parser.parse_args(arguments)
    print(json.dumps(measured(asked.name, asked.device, small=asked.small)))


if __name__ == "__main__":
    main(sys.argv[1:])
