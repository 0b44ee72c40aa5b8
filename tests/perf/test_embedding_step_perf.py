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
from steps import Looped, clicks
from torch import nn

from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.dcnv2 import Multi
from bench.tracks.embedding_scale.settings import PAPER_WIDTH, Run

pytestmark = [pytest.mark.perf, pytest.mark.timeout(1500)]
FIELDS, ROWS, SETS, DIM, BATCH = 39, 1_080_000, 10, 10, 2_048
RUN = Run(hidden=PAPER_WIDTH)
STEPS = 5


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
    cardinalities, x, y = clicks(FIELDS, ROWS, BATCH)
    return cardinalities, torch.from_numpy(x), torch.from_numpy(y)


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

    looped = Looped(SETS, DIM, cardinalities, RUN)
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
