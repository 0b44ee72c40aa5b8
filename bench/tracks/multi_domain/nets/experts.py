"""Shared features as mixtures of experts, whose gates differ between the domains: MMoE and PLE."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from bench.tracks.multi_domain.nets.bodies import Body
from bench.tracks.multi_domain.nets.routing import copies, routed


class Experts(nn.Module):
    """MMoE's features: f_d(x) = sum_e softmax(G_d s)_e expert_e(s), with s = stem(x).

    The experts are fresh trunks on the body's stem; its own trunk is the first. ``gates``: one for each
    domain, or a single one for all.
    """

    def __init__(self, body: Body, experts: int, gates: int) -> None:
        super().__init__()
        self.stem = body.stem
        self.experts = nn.ModuleList([body.trunk, *(body.expert() for _ in range(experts - 1))])
        self.gates = nn.ModuleList(nn.Linear(body.stem.width, experts, bias=False) for _ in range(gates))

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W) of inputs (B, ...) and their domains (B,)."""
        s = self.stem(x)
        return mixed(routed(self.gates, domain, s), [e(s) for e in self.experts])

    def split(self, domains: int) -> None:
        """Go from one gate for all domains to one for each, a copy of it."""
        (root,) = self.gates
        self.gates = copies(root, domains)


def mixed(gate: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """The mean (B, W) of E outputs (B, W), weighted by the softmax over a gate (B, E)."""
    return torch.einsum("be,bew->bw", gate.softmax(1), torch.stack(list(outputs), 1))


class Progressive(nn.Module):
    """PLE's features: levels of customised gate control (CGC).

    A level has ``own`` experts for each domain and ``shared`` ones. The gate of a domain mixes its own
    experts and the shared ones; the gate of the shared way, which the last level does not have, mixes all.
    The experts and gates of a way read what the level before gave for that way; on the first level all read
    the stem.
    """

    def __init__(self, body: Body, domains: int, *, own: int, shared: int, levels: int) -> None:
        super().__init__()
        self.stem = body.stem
        sizes = [body.stem.width, *([body.width] * (levels - 1))]
        self.levels = nn.ModuleList(
            _Level(body, width, domains, own, shared, last=i == levels - 1) for i, width in enumerate(sizes)
        )

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W) of inputs (B, ...) and their domains (B,)."""
        s = self.stem(x)
        *before, last = (level for level in self.levels if isinstance(level, _Level))
        ways: list[Tensor] = [s] * (len(last.own) + 1)
        for level in before:
            ways = level(ways)
        mine = torch.stack(ways[:-1], 1)[torch.arange(len(s), device=s.device), domain]
        found: Tensor = last.route(mine, ways[-1], domain)
        return found


class _Level(nn.Module):
    """One level of `Progressive`; the last list of ``own`` and the last way are the shared ones."""

    def __init__(self, body: Body, width: int, domains: int, own: int, shared: int, *, last: bool) -> None:
        super().__init__()
        self.own = nn.ModuleList(
            nn.ModuleList(body.expert(width) for _ in range(own)) for _ in range(domains)
        )
        self.shared = nn.ModuleList(body.expert(width) for _ in range(shared))
        self.gates = nn.ModuleList(nn.Linear(width, own + shared, bias=False) for _ in range(domains))
        self.all = None if last else nn.Linear(width, domains * own + shared, bias=False)

    def forward(self, ways: Sequence[Tensor]) -> list[Tensor]:
        """What each way gives, (B, W) each.

        Args:
            ways: what each way reads, (B, width) each, those of the domains first and the shared one last.
        """
        assert self.all is not None
        common = ways[-1]
        own = [[e(x) for e in experts] for experts, x in zip(self._experts(), ways[:-1], strict=True)]
        shared = [e(common) for e in self.shared]
        out = [mixed(g(x), [*o, *shared]) for g, x, o in zip(self.gates, ways[:-1], own, strict=True)]
        return [*out, mixed(self.all(common), [*(e for o in own for e in o), *shared])]

    def route(self, mine: Tensor, common: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W) of each row, through the experts and the gate of its own domain alone.

        Args:
            mine: what the way of each row's domain reads, (B, width).
            common: what the shared way reads, (B, width).
            domain: (B,).
        """
        shared = torch.stack([e(common) for e in self.shared], 1)  # (B, E, W)
        side = mine.shape[1]

        def one(gate: nn.Module, experts: Sequence[nn.Module], rows: Tensor) -> Tensor:
            x, s = rows[:, :side], rows[:, side:].view(len(rows), *shared.shape[1:])
            return mixed(gate(x), [*(e(x) for e in experts), *s.unbind(1)])

        parts = [partial(one, g, e) for g, e in zip(self.gates, self._experts(), strict=True)]
        return routed(parts, domain, torch.cat([mine, shared.flatten(1)], 1))

    def _experts(self) -> list[list[nn.Module]]:
        """The experts of each domain."""
        return [list(e) for e in self.own if isinstance(e, nn.ModuleList)]
