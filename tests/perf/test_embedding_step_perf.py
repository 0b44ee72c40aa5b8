"""A training step of multi-embedding DCNv2 at Criteo's size, against a looped list of modules, in the same run.

Run by hand: ``make perf``. Prints ratios; asserts only the bar. The peer is what one writes first: a list of M
networks with a table each, called in a loop, and torch's Adam as it comes. The parts are timed by hooks between
forward, backward and optimiser.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.dcnv2 import Multi
from bench.tracks.embedding_scale.settings import Run

pytestmark = [pytest.mark.perf, pytest.mark.timeout(1500)]
FIELDS, ROWS, SETS, DIM, BATCH = 39, 1_080_000, 10, 10, 2_048
RUN = Run()
STEPS = 5


class OneSet(nn.Module):
    def __init__(self, total: int, offsets: torch.Tensor) -> None:
        super().__init__()
        self.offsets = offsets
        self.table = nn.Embedding(total, DIM)
        width = FIELDS * DIM
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(RUN.cross_layers))
        self.projection = nn.Sequential(
            nn.Linear(width, RUN.hidden), nn.BatchNorm1d(RUN.hidden), nn.ReLU(), nn.Dropout(RUN.dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x0 = self.table(x + self.offsets).flatten(1)
        z = x0
        for layer in self.cross:
            z = x0 * layer(z) + z
        return self.projection(z)


class Looped(nn.Module):
    def __init__(self, total: int, offsets: torch.Tensor) -> None:
        super().__init__()
        self.sets = nn.ModuleList(OneSet(total, offsets) for _ in range(SETS))
        self.rest = nn.Sequential(
            nn.Linear(RUN.hidden, RUN.hidden), nn.BatchNorm1d(RUN.hidden), nn.ReLU(), nn.Dropout(RUN.dropout),
            nn.Linear(RUN.hidden, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(torch.stack([s(x) for s in self.sets]).mean(0)).squeeze(1)


def seconds(
    net: nn.Module,
    forward: Callable[[torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    x: torch.Tensor,
    y: torch.Tensor,
) -> tuple[float, float, float, float]:
    """Medians over the steps: forward, backward, optimiser, whole; gradients are dropped between steps."""
    net.train()
    times = []
    for _ in range(STEPS + 1):
        t0 = time.perf_counter()
        loss = F.binary_cross_entropy_with_logits(forward(x), y)
        t1 = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        t2 = time.perf_counter()
        optimizer.step()
        t3 = time.perf_counter()
        times.append((t1 - t0, t2 - t1, t3 - t2, t3 - t0))
    return tuple(median(t) for t in zip(*times[1:], strict=True))  # the first one allocates Adam's states


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    sizes = np.sort(rng.lognormal(6, 3, FIELDS))
    cardinalities = np.maximum(4, np.round(sizes / sizes.sum() * ROWS)).astype(int)
    cardinalities[-1] += ROWS - cardinalities.sum()
    x = np.stack([(c * rng.random(BATCH) ** 3).astype(np.int64) for c in cardinalities], axis=1)
    y = (rng.random(BATCH) < 0.25).astype(np.float32)
    return tuple(int(c) for c in cardinalities), torch.from_numpy(x), torch.from_numpy(y)


def test_a_step_against_a_looped_list_of_modules(problem):
    cardinalities, x, y = problem
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    empty = np.zeros((0, FIELDS), np.int64), np.zeros(0, np.float32)
    names = tuple(f"f{i}" for i in range(FIELDS))
    given = CtrData("criteo", SETS, names, cardinalities, *empty, *empty, empty[0])
    results = {}

    net = Multi(given, DIM, SETS, RUN)

    def ours(x: torch.Tensor) -> torch.Tensor:
        return net.head(net.interact(net.embedding(x)).mean(0))

    for name, decay in (("ours", 1e-6), ("ours, no weight decay", 0.0)):
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=decay, fused=True)
        results[name] = seconds(net, ours, optimizer, x, y)
    numbers = sum(p.numel() for p in net.parameters())
    del optimizer

    offsets = torch.tensor([0, *cardinalities[:-1]]).cumsum(0)
    looped = Looped(ROWS, offsets)
    assert sum(p.numel() for p in looped.parameters()) == numbers
    for name, is_fused in (("looped, default Adam", None), ("looped, fused Adam", True)):
        optimizer = torch.optim.Adam(looped.parameters(), lr=1e-3, weight_decay=1e-6, fused=is_fused)
        results[name] = seconds(looped, looped, optimizer, x, y)
    torch.set_num_threads(threads)

    print(f"\n{numbers / 1e6:.0f} M parameters, ms: forward, backward, optimiser, step")
    for name, parts in results.items():
        print(f"  {name:24s} " + " ".join(f"{1e3 * p:7.0f}" for p in parts))
    ratio = results["looped, default Adam"][3] / results["ours"][3]
    print(f"  looped with default Adam / ours: {ratio:.2f}; with fused Adam / ours:"
          f" {results['looped, fused Adam'][3] / results['ours'][3]:.2f}")  # fmt: skip
    assert ratio >= 1.5
