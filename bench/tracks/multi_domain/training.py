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
from bench.tracks.common.steps import Steps, optimised
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
    """The rows of one step.

    ``x``: inputs (B, ...) as the data give them. ``y``, ``domain``: (B,) int64. ``progress``: the share of
    all steps that are done before this one, in [0, 1).
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
    """A phase of the training, with an optimiser and a cosine of its own.

    ``steps``: optimisation steps; a phase without any only begins. ``begin``: called first, also when a
    killed cell comes past this phase again; it may change the network, and must draw nothing at random.
    ``part``: gives, when the phase begins, the part of the network that is trained; None: all of it.
    Everything else is in evaluation mode and without gradients, so that neither a weight nor a statistic of
    it changes. ``end``: called with the number of steps done, in this phase and those before. ``shares``: of
    the domains in a batch; see `bench.tracks.multi_domain.sampling`.
    """

    steps: int
    begin: Callable[[], None] = lambda: None
    part: Callable[[], nn.Module] | None = None
    end: Callable[[int], None] = _nothing
    shares: Shares = "natural"


def fit(
    net: nn.Module,
    loss: Loss,
    data: MultiDomainData,
    ctx: Context,
    *,
    phases: Sequence[Phase] = (),
) -> bool:
    """Train ``net`` in place for the steps of the recipe, in one phase unless several are given.

    Goes on from the last checkpoint of a killed cell. Stops for good when the loss is not finite.

    Args:
        net: all that is trained, and all buffers that ``loss`` changes.
        loss: of a step's rows, a scalar.
        data: what is trained on.
        ctx: of the cell.
        phases: their steps add up to the recipe's.

    Returns:
        whether the training came to its end.
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
        if not _phase(net, loss, data, ctx, phase, steps, number, mine):
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
    number: int,
    state: dict[str, Any] | None,
) -> bool:
    """Take the steps of one phase.

    Args:
        steps: numbers of the steps that are done before and after the phase.
        number: of the phase, from 0.
        state: a checkpoint of this phase to go on from, or None.

    Returns:
        whether the last reported loss was finite.
    """
    part = net if phase.part is None else phase.part()
    trained, frozen = _divided(net, part)
    optimizer = torch.optim.AdamW(
        _groups(net, trained, data.recipe), weight_decay=data.recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    engine = Steps(
        ctx=ctx, total=data.recipe.steps, state=[net, optimizer, schedule], checkpoint_every=CHECKPOINT,
        phase=number, first=steps.start, last=steps.stop,
    )  # fmt: skip
    engine.resume(state)

    def step(batch: Batch) -> Tensor:
        value = optimised(lambda: loss(batch), optimizer, ctx.device, ctx.amp)
        schedule.step()
        return value

    net.eval()
    part.train()
    for p in frozen:
        p.requires_grad_(False)
    engine.run(_batches(data, ctx, range(engine.done, steps.stop), phase.shares), step)
    for p in frozen:
        p.requires_grad_(True)
    return engine.finite


def _divided(net: nn.Module, part: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that a phase trains, and those that it does not.

    Parameters that no phase ever trains are in neither.
    """
    wanted = {id(p) for p in part.parameters()}
    all_of = [p for p in net.parameters() if p.requires_grad]
    return [p for p in all_of if id(p) in wanted], [p for p in all_of if id(p) not in wanted]


def _groups(net: nn.Module, trained: Sequence[nn.Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters of stems with the recipe's ``lr``, all others with its ``head_lr``."""
    stems = {id(p) for m in net.modules() if isinstance(m, Stem) for p in m.parameters()}
    groups = [
        {"params": [p for p in trained if id(p) in stems], "lr": recipe.lr},
        {"params": [p for p in trained if id(p) not in stems], "lr": recipe.head_lr},
    ]
    return [g for g in groups if g["params"]]


def _batches(data: MultiDomainData, ctx: Context, steps: range, shares: Shares) -> Iterator[Batch]:
    """The batches of these steps; what a batch holds does not depend on which came before it."""
    train = data.train
    ahead, rows = tee(islice(batches(data, shares, ctx.seed), steps.start, steps.stop))
    inputs = train.inputs.stream(ahead, ctx.seed, steps.start)
    for step, (at, x) in enumerate(zip(rows, inputs, strict=True), steps.start):
        y, domain = (torch.from_numpy(a[at]).to(ctx.device) for a in (train.y, train.domain))
        yield Batch(x.to(ctx.device), y, domain, step / data.recipe.steps)


# ----------------------------------------------------------------------------------------------- loss, answer


def losses(logits: Tensor, y: Tensor) -> Tensor:
    """The loss (B,) of each row.

    It is the cross-entropy of logits (B, C), or the binary cross-entropy of one logit (B, 1), with labels y
    (B,).
    """
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0].float(), y.float(), reduction="none")
    return F.cross_entropy(logits.float(), y, reduction="none")


def mean_loss(net: nn.Module) -> Loss:
    """A loss: the mean of `losses` over a batch, by a network of inputs and domains."""
    return lambda batch: losses(net(batch.x, batch.domain), batch.y).mean()


def probabilities(logits: Tensor) -> Tensor:
    """The softmax (B, C) of logits (B, C); for one logit (B, 1) both probabilities (B, 2), label 1 last."""
    if logits.shape[1] == 1:
        positive = torch.sigmoid(logits.float())
        return torch.cat([1 - positive, positive], 1)
    return logits.float().softmax(1)


def answer(
    net: nn.Module, data: MultiDomainData, ctx: Context, *, parameters: int | None = None
) -> dict[str, Any]:
    """The answer that the track expects, predicted in evaluation mode and full precision.

    Args:
        net: a network of inputs and domains.
        data: whose validation and test examples are predicted.
        ctx: of the cell.
        parameters: how many numbers inference needs, where they are not the network's parameters.
    """
    net.eval()
    return {
        "val": _predicted(net, data.val, data, ctx),
        "test": _predicted(net, data.test, data, ctx),
        "parameters": sum(p.numel() for p in net.parameters()) if parameters is None else parameters,
    }


@torch.no_grad()
def _predicted(net: nn.Module, of: Labelled | Unlabelled, data: MultiDomainData, ctx: Context) -> np.ndarray:
    """Probabilities in single precision: (n, C) for images, of label 1 (n,) for a table."""
    parts = []
    size = EVAL_BATCH[data.kind]
    for rows in np.split(np.arange(len(of)), range(size, len(of), size)):
        x = torch.from_numpy(of.inputs.read(rows)).to(ctx.device)
        parts.append(probabilities(net(x, torch.from_numpy(of.domain[rows]).to(ctx.device))))
    p: np.ndarray = torch.cat(parts).cpu().numpy()
    return p if data.kind == "images" else p[:, 1]
