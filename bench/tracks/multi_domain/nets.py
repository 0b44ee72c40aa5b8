"""Networks with a way for every domain: heads, mixtures of experts, star topology.

A network takes inputs (B, ...) and their domains (B,) int64 and gives logits (B, outputs). A row goes only
through what its domain needs. torch-rechub's SharedBottom, MMOE and PLE give every row the answer of every
task and want a label for each; here a row has one domain, so only their layout is the same
(``tests/tracks/test_multi_domain_nets.py`` compares with them).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.tracks.multi_domain.bodies import Body


def routed(parts: Iterable[Callable[[Tensor], Tensor]], domain: Tensor, x: Tensor) -> Tensor:
    """Each row through its own domain's part: (B, ...) -> (B, K), in the order of the rows.

    Part t sees the rows of domain t together, and none if there is none. A single part takes all rows.
    """
    parts = list(parts)
    if len(parts) == 1:
        return parts[0](x)
    order = torch.argsort(domain, stable=True)
    mine = torch.split(x[order], torch.bincount(domain, minlength=len(parts)).tolist())
    out = torch.cat([part(rows) for part, rows in zip(parts, mine, strict=True) if len(rows)])
    return out[torch.argsort(order)]


def copies(module: nn.Module, n: int) -> nn.ModuleList:
    """``n`` modules with the same values now and none in common."""
    return nn.ModuleList(copy.deepcopy(module) for _ in range(n))


class MultiHead(nn.Module):
    """h_d(psi(x, d)): shared features, and one head a domain, or a single one for all.

    ``psi``: inputs and domains -> features (B, W).
    """

    def __init__(self, psi: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.psi, self.heads = psi, nn.ModuleList(heads)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Logits (B, outputs)."""
        return self.classify(self.psi(x, domain), domain)

    def classify(self, features: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W) -> logits (B, outputs)."""
        return routed(self.heads, domain, features)

    def split(self, domains: int) -> None:
        """From one head for all to one a domain, each a copy of it; so with the gates, if psi has some."""
        (root,) = self.heads
        self.heads = copies(root, domains)
        if isinstance(self.psi, Experts):
            self.psi.split(domains)


class Plain(nn.Module):
    """psi(x) = trunk(stem(x)), whatever the domain."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W)."""
        features: Tensor = self.body(x)
        return features


class Separate(nn.Module):
    """A whole network a domain, with nothing in common."""

    def __init__(self, bodies: Iterable[Body]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(nn.Sequential(b, b.head()) for b in bodies)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Logits (B, outputs)."""
        return routed(self.networks, domain, x)


# --------------------------------------------------------------------------------------- mixtures of experts


class Experts(nn.Module):
    """MMoE's features: f_d(x) = sum_e softmax(G_d s)_e expert_e(s), s = stem(x).

    Experts are fresh trunks on the body's stem; its own trunk is the first. ``gates``: one a domain, or a
    single one for all.
    """

    def __init__(self, body: Body, experts: int, gates: int) -> None:
        super().__init__()
        self.stem = body.stem
        self.experts = nn.ModuleList([body.trunk, *(body.expert() for _ in range(experts - 1))])
        self.gates = nn.ModuleList(nn.Linear(body.stem.width, experts, bias=False) for _ in range(gates))

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W)."""
        s = self.stem(x)
        return mixed(routed(self.gates, domain, s), [e(s) for e in self.experts])

    def split(self, domains: int) -> None:
        """From one gate for all to one a domain, each a copy of it."""
        (root,) = self.gates
        self.gates = copies(root, domains)


def mixed(gate: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """softmax(gate (B, E)) over E outputs (B, W) -> (B, W)."""
    return torch.einsum("be,bew->bw", gate.softmax(1), torch.stack(list(outputs), 1))


class Progressive(nn.Module):
    """PLE's features: levels of customised gate control (CGC).

    A level has ``own`` experts a domain and ``shared`` ones. The gate of a domain mixes its own and the
    shared ones; the gate of the shared way, which the last level does not have, mixes all. The experts and
    gates of a way read what the level before gave for that way, at first all read the stem.
    """

    def __init__(self, body: Body, domains: int, *, own: int, shared: int, levels: int) -> None:
        super().__init__()
        self.stem = body.stem
        sizes = [body.stem.width, *([body.width] * (levels - 1))]
        self.levels = nn.ModuleList(
            _Level(body, width, domains, own, shared, last=i == levels - 1) for i, width in enumerate(sizes)
        )

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Features (B, W)."""
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
        """What each way reads, domains first and the shared last -> what each gives, (B, W) each."""
        assert self.all is not None
        common = ways[-1]
        own = [[e(x) for e in experts] for experts, x in zip(self._experts(), ways[:-1], strict=True)]
        shared = [e(common) for e in self.shared]
        out = [mixed(g(x), [*o, *shared]) for g, x, o in zip(self.gates, ways[:-1], own, strict=True)]
        return [*out, mixed(self.all(common), [*(e for o in own for e in o), *shared])]

    def route(self, mine: Tensor, common: Tensor, domain: Tensor) -> Tensor:
        """Each row through its own domain alone: what that and the shared way read -> (B, W)."""
        shared = torch.stack([e(common) for e in self.shared], 1)  # (B, E, W)
        side = mine.shape[1]

        def one(gate: nn.Module, experts: Sequence[nn.Module], rows: Tensor) -> Tensor:
            x, s = rows[:, :side], rows[:, side:].view(len(rows), *shared.shape[1:])
            return mixed(gate(x), [*(e(x) for e in experts), *s.unbind(1)])

        parts = [partial(one, g, e) for g, e in zip(self.gates, self._experts(), strict=True)]
        return routed(parts, domain, torch.cat([mine, shared.flatten(1)], 1))

    def _experts(self) -> list[list[nn.Module]]:
        return [list(e) for e in self.own if isinstance(e, nn.ModuleList)]


# ------------------------------------------------------------------------------------------------------- STAR


class Star(nn.Module):
    """Star topology: every layer's weights are the centre's times the domain's, element by element.

    W_d = W * (1 + V_d), b_d = b + c_d over the layers of trunk and head, on the body's stem. The paper writes
    W * W_d; 1 + V_d from V_d = 0 starts all domains at the centre, and weight decay draws them there.

    Args:
        body: its stem is shared; its layers' sizes are the star's.
        domains: how many.
        normalise: partitioned normalisation between stem and layers.
        auxiliary: hidden units of the auxiliary network, which reads the domain's embedding beside the
            features and whose logits are added; 0: none.
    """

    def __init__(self, body: Body, domains: int, *, normalise: bool, auxiliary: int) -> None:
        super().__init__()
        self.stem = body.stem
        width = body.stem.width
        sizes = (width, *body.hidden, *body.tower, body.outputs)
        self.layers = nn.ModuleList(StarLinear(a, b, domains) for a, b in pairwise(sizes))
        self.norm = PartitionedNorm(width, domains) if normalise else None
        self.of_domain, self.auxiliary = None, None
        if auxiliary:
            self.of_domain = nn.Embedding(domains, auxiliary)
            self.auxiliary = nn.Sequential(
                nn.Linear(width + auxiliary, auxiliary), nn.ReLU(), nn.Linear(auxiliary, body.outputs)
            )
        self._domains = domains

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Logits (B, outputs)."""
        return routed([partial(self._one, t) for t in range(self._domains)], domain, self.stem(x))

    def _one(self, t: int, s: Tensor) -> Tensor:
        z = s if self.norm is None else self.norm(s, t)
        h = z
        for i, layer in enumerate(self.layers):
            h = layer(h if i == 0 else F.relu(h), t)
        if self.of_domain is None or self.auxiliary is None:
            return h
        e = self.of_domain.weight[t].expand(len(z), -1)
        total: Tensor = h + self.auxiliary(torch.cat([z, e], 1))
        return total

    def parameters_at_inference(self) -> int:
        """Numbers needed to answer, each domain's weights multiplied out."""
        folded = sum(layer.centre.weight.numel() + layer.centre.bias.numel() for layer in self._layers())
        if self.norm is not None:
            folded += self.norm.weight.numel() + self.norm.bias.numel()
        return sum(p.numel() for p in self.parameters()) - folded

    def _layers(self) -> list[StarLinear]:
        return [layer for layer in self.layers if isinstance(layer, StarLinear)]


class StarLinear(nn.Module):
    """A linear layer for every domain around a common one: x (W * (1 + V_d))^T + b + c_d."""

    def __init__(self, before: int, after: int, domains: int) -> None:
        super().__init__()
        self.centre = nn.Linear(before, after)
        # A parameter a domain, not one for all: one without a row in a step has no gradient and stays.
        self.scale = nn.ParameterList(nn.Parameter(torch.zeros(after, before)) for _ in range(domains))
        self.shift = nn.ParameterList(nn.Parameter(torch.zeros(after)) for _ in range(domains))

    def forward(self, x: Tensor, t: int) -> Tensor:
        """Rows (B, before) of domain ``t`` -> (B, after)."""
        return F.linear(x, self.centre.weight * (1 + self.scale[t]), self.centre.bias + self.shift[t])


class PartitionedNorm(nn.Module):
    """Batch norm with statistics of each domain's own: gamma * gamma_d * z + beta + beta_d.

    A step with a single row of a domain uses the statistics so far, and leaves them.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, width: int, domains: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.scale = nn.ParameterList(nn.Parameter(torch.ones(width)) for _ in range(domains))
        self.shift = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(domains))
        self.register_buffer("mean", torch.zeros(domains, width))
        self.register_buffer("var", torch.ones(domains, width))

    def forward(self, z: Tensor, t: int) -> Tensor:
        """Rows (B, width) of domain ``t``, normalised."""
        return F.batch_norm(
            z, self.mean[t], self.var[t], self.weight * self.scale[t], self.bias + self.shift[t],
            training=self.training and len(z) > 1,
        )  # fmt: skip
