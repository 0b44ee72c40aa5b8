"""How every row trains and answers: the same steps, the same batches, one optimiser, one loss.

AdamW with its rate falling along a cosine to 0. A batch has rows of all domains in proportion to their
numbers, unless a row's idea is another. The loss is the mean over the batch's rows, so large domains weigh
more: that is what the paper calls domain domination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, tee
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import Context
from bench.tracks.common.pictures import Labelled
from bench.tracks.multi_domain.data import MultiDomainData, Unlabelled
from bench.tracks.multi_domain.nets.bodies import Stem
from bench.tracks.multi_domain.sampling import Shares, batches
from bench.tracks.multi_domain.settings import Recipe

#: Steps between two checkpoints.
CHECKPOINT = 500
#: Rows in one forward pass without gradients: images, and rows of tables.
EVAL_BATCH = {"images": 256, "table": 8_192}


@dataclass(frozen=True, slots=True)
class Batch:
    """A step's rows. ``x``: (B, ...) as the data give it; ``y``, ``domain``: (B,) int64.

    ``progress``: the share of all steps that is done before this one, in [0, 1).
    """

    x: Tensor
    y: Tensor
    domain: Tensor
    progress: float


Loss = Callable[[Batch], Tensor]


def _nothing(step: int) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the training, with an optimiser and a cosine of its own.

    ``begin``: called first, also when a killed cell comes past this phase again; it may change the network,
    and must draw nothing at random. ``part``: what is trained, when it begins; None: all. All else is in
    evaluation mode and without gradients, so that neither a weight nor a statistic of it changes. ``end``:
    called with the steps taken so far, in this phase and those before. A phase of 0 steps only begins.
    """

    steps: int
    begin: Callable[[], None] = lambda: None
    part: Callable[[], nn.Module] | None = None
    end: Callable[[int], None] = _nothing


def fit(
    net: nn.Module,
    loss: Loss,
    data: MultiDomainData,
    ctx: Context,
    *,
    phases: Sequence[Phase] = (),
    shares: Shares = "natural",
) -> bool:
    """Train ``net`` in place for the steps of the recipe, in one phase unless several are given.

    Goes on from the last checkpoint of a killed cell. Stops for good when the loss is not finite.

    Args:
        net: all that is trained, and all buffers that ``loss`` changes.
        loss: of a step's rows.
        phases: their steps add up to the recipe's.
        shares: of the domains in a batch; see `bench.tracks.multi_domain.sampling`.

    Returns:
        whether it came to its end.
    """
    net.to(ctx.device)
    phases = phases or [Phase(steps=data.recipe.steps)]
    if sum(p.steps for p in phases) != data.recipe.steps:
        raise ValueError(f"phases of {[p.steps for p in phases]} steps, expected {data.recipe.steps} in all")
    state = ctx.restore()
    first = 0
    for number, phase in enumerate(phases):
        phase.begin()
        steps = range(first, first + phase.steps)
        first = steps.stop
        if not steps or (state is not None and number < state["phase"]):
            continue
        mine = state if state is not None and number == state["phase"] else None
        if not _phase(net, loss, data, ctx, phase, steps, shares, number, mine):
            return False
        phase.end(steps.stop)
    return True


def _phase(
    net: nn.Module,
    loss: Loss,
    data: MultiDomainData,
    ctx: Context,
    phase: Phase,
    steps: range,
    shares: Shares,
    number: int,
    state: dict[str, Any] | None,
) -> bool:
    """Take the steps; False when the loss was not finite."""
    part = net if phase.part is None else phase.part()
    trained, frozen = _divided(net, part)
    optimizer = torch.optim.AdamW(
        _groups(net, trained, data.recipe), weight_decay=data.recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    done = steps.start
    if state is not None:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        done = state["step"]
    total = data.recipe.steps
    every = max(1, total // 20)
    finite = True
    net.eval()
    part.train()
    for p in frozen:
        p.requires_grad_(False)
    for batch in _batches(data, ctx, range(done, steps.stop), shares):
        with torch.autocast(torch.device(ctx.device).type, torch.bfloat16, enabled=ctx.amp):
            value = loss(batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        optimizer.step()
        schedule.step()
        done += 1
        if done % every == 0 or done == steps.stop:
            ctx.report(step=done, loss=float(value.detach()))
            if not (finite := bool(torch.isfinite(value.detach()))):
                break
        if done % CHECKPOINT == 0 and done < steps.stop:
            now = {"phase": number, "step": done, "net": net.state_dict()}
            ctx.checkpoint({**now, "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()})
    for p in frozen:
        p.requires_grad_(True)
    return finite


def _divided(net: nn.Module, part: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that a phase trains, and the others; not those that no phase ever trains."""
    wanted = {id(p) for p in part.parameters()}
    all_of = [p for p in net.parameters() if p.requires_grad]
    return [p for p in all_of if id(p) in wanted], [p for p in all_of if id(p) not in wanted]


def _groups(net: nn.Module, trained: Sequence[nn.Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters of stems at the recipe's ``lr``, all others at its ``head_lr``."""
    stems = {id(p) for m in net.modules() if isinstance(m, Stem) for p in m.parameters()}
    groups = [
        {"params": [p for p in trained if id(p) in stems], "lr": recipe.lr},
        {"params": [p for p in trained if id(p) not in stems], "lr": recipe.head_lr},
    ]
    return [g for g in groups if g["params"]]


def _batches(data: MultiDomainData, ctx: Context, steps: range, shares: Shares) -> Iterator[Batch]:
    """The batches of those steps; what one holds does not depend on which came before it."""
    train = data.train
    ahead, rows = tee(islice(batches(data, shares, ctx.seed), steps.start, steps.stop))
    inputs = train.inputs.stream(ahead, ctx.seed, steps.start)
    for step, (at, x) in enumerate(zip(rows, inputs, strict=True), steps.start):
        y, domain = (torch.from_numpy(a[at]).to(ctx.device) for a in (train.y, train.domain))
        yield Batch(x.to(ctx.device), y, domain, step / data.recipe.steps)


# ----------------------------------------------------------------------------------------------- loss, answer


def losses(logits: Tensor, y: Tensor) -> Tensor:
    """Each row's loss (B,): cross-entropy of logits (B, C), or binary cross-entropy of one logit (B, 1)."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0].float(), y.float(), reduction="none")
    return F.cross_entropy(logits.float(), y, reduction="none")


def mean_loss(net: nn.Module) -> Loss:
    """The mean of `losses` over a batch, by a network of inputs and domains."""
    return lambda batch: losses(net(batch.x, batch.domain), batch.y).mean()


def probabilities(logits: Tensor) -> Tensor:
    """(B, C) -> softmax (B, C); (B, 1) -> (B, 2), the sigmoid last."""
    if logits.shape[1] == 1:
        positive = torch.sigmoid(logits.float())
        return torch.cat([1 - positive, positive], 1)
    return logits.float().softmax(1)


def answer(
    net: nn.Module, data: MultiDomainData, ctx: Context, *, parameters: int | None = None
) -> dict[str, Any]:
    """What the track asks for, by a network of inputs and domains, in evaluation mode and full precision.

    ``parameters``: numbers needed at inference, where they are not the network's parameters.
    """
    net.eval()
    return {
        "val": _predicted(net, data.val, data, ctx),
        "test": _predicted(net, data.test, data, ctx),
        "parameters": sum(p.numel() for p in net.parameters()) if parameters is None else parameters,
    }


@torch.no_grad()
def _predicted(net: nn.Module, of: Labelled | Unlabelled, data: MultiDomainData, ctx: Context) -> np.ndarray:
    """(n, C) for images, (n,) for a table: float32."""
    parts = []
    size = EVAL_BATCH[data.kind]
    for rows in np.split(np.arange(len(of)), range(size, len(of), size)):
        x = torch.from_numpy(of.inputs.read(rows)).to(ctx.device)
        parts.append(probabilities(net(x, torch.from_numpy(of.domain[rows]).to(ctx.device))))
    p: np.ndarray = torch.cat(parts).cpu().numpy()
    return p if data.kind == "images" else p[:, 1]
