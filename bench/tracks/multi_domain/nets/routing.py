"""Sending each row of a batch through the part of a network that is its domain's own.

torch-rechub's SharedBottom, MMOE and PLE give every row the answer of every task and want a label for each;
here a row has one domain, so only their layout is the same (`test_multi_domain_nets`
compares with them).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def routed(parts: Iterable[Callable[[Tensor], Tensor]], domain: Tensor, x: Tensor) -> Tensor:
    """Send each row through its own domain's part; the results (B, K) are in the order of the rows.

    Part t sees the rows of domain t together, and is not called if there is none. A single part takes all
    rows.

    Args:
        parts: of a network, one for each domain, or a single one.
        domain: (B,) int64.
        x: (B, ...).
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0](x)
    order = torch.argsort(domain, stable=True)
    mine = torch.split(x[order], torch.bincount(domain, minlength=len(parts)).tolist())
    out = torch.cat([part(rows) for part, rows in zip(parts, mine, strict=True) if len(rows)])
    return out[torch.argsort(order)]


def copies(module: nn.Module, n: int) -> nn.ModuleList:
    """``n`` modules that have the same values now and share nothing."""
    return nn.ModuleList(copy.deepcopy(module) for _ in range(n))
