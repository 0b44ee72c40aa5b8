"""The paper's training protocol: `solve` trains a network and gives the answer that the track expects.

Adam with coupled weight decay, binary cross-entropy, early stopping on validation AUC, best weights restored.
Two differences. The released code visits the rows in one fixed order, which its random split has shuffled;
here every epoch has its own order, drawn from the seed and the epoch's number. And the run settings may ask
for several looks at the validation AUC an epoch, the same number for all rows: where a network is past its
best within the second epoch, one look an epoch costs more than what the board is to compare.

Adam is dense, as in the released code: coupled weight decay moves every row of every table at every step,
also rows that the batch did not select, and a sparse optimiser would not. It is fused, so that costs little:
57 of 1,557 ms of a step with ten sets of ten dimensions over 1.08 M rows on two cores, with or without the
decay, where torch's default takes 1,164 (``tests/perf/test_embedding_step_perf.py``); in memory, gradients
and two moments beside each table.
"""

from __future__ import annotations

import copy
import importlib
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import BenchError, Context
from bench.tracks.common.metrics import auc
from bench.tracks.embedding_scale.batches import Rows
from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding
from bench.tracks.embedding_scale.settings import Run

Forward = Callable[[Tensor], Tensor]
#: A training batch's indices (B, N) -> what is added to its loss, ().
Penalty = Callable[[Tensor], Tensor]
#: Rows in one forward pass without gradients; xDeepFM's products bound it: 2.5 GB at 10 times Criteo's base.
EVAL_BATCH = 4_096


def network(model: str) -> Any:
    """The module of ``nets/`` of that name, with its classes ``Single`` and ``Multi``.

    Imported by name, so that a cell loads its own network alone: a change to one makes only its cells stale.
    """
    return importlib.import_module(f"bench.tracks.embedding_scale.nets.{model}")


def solve(
    net: nn.Module,
    forward: Forward,
    data: CtrData,
    ctx: Context,
    *,
    lr: float | None = None,
    penalty: Penalty | None = None,
) -> dict[str, Any]:
    """Train ``net`` on ``data`` and answer with the weights of its best validation AUC.

    Args:
        net: holds the parameters; its ``embedding``, if it is a `FieldEmbedding`, becomes the tables.
        forward: indices (B, N) -> logits (B,), through the parameters of ``net``.
        lr: learning rate; None: the run settings'.
        penalty: a training batch's indices (B, N) -> what is added to its loss, through the parameters of
            ``net``; in full precision, and not in the loss that is reported.

    Returns:
        the answer that the track expects, with tables, number of parameters, and speed of training.
    """
    net.to(ctx.device)
    speed = fit(net, forward, data, ctx, lr=lr, penalty=penalty)
    answer: dict[str, Any] = {
        "val": predict(net, forward, data.val_x, ctx),
        "test": predict(net, forward, data.test_x, ctx),
        "parameters": sum(p.numel() for p in net.parameters()),
        "examples_per_second": speed,
    }
    if isinstance(embedding := getattr(net, "embedding", None), FieldEmbedding):
        answer["tables"] = [[t.cpu().numpy() for t in sets] for sets in embedding.tables()]
    return answer


def fit(
    net: nn.Module,
    forward: Forward,
    data: CtrData,
    ctx: Context,
    *,
    lr: float | None = None,
    penalty: Penalty | None = None,
) -> float | None:
    """Train until validation AUC has not risen for ``patience`` looks; leave ``net`` as at its best look.

    Goes on from the last checkpoint of a killed cell. Stops at once when the loss is no longer finite, which
    leaves predictions that are not finite either unless an earlier look was better.

    Returns:
        training rows per second, validation not counted; None if there was no step.
    """
    run = ctx.run
    if len(data.train_x) < 2:
        raise BenchError(
            f"{data.dataset}: batch norm needs at least 2 training rows, got {len(data.train_x)}"
        )
    optimizer = torch.optim.Adam(net.parameters(), lr=lr or run.lr, weight_decay=run.weight_decay, fused=True)
    state: dict[str, Any] = {
        "looks": 0,
        "waited": 0,
        "examples": 0,
        "seconds": 0.0,
        "best_auc": -1.0,
        "best": copy.deepcopy(net.state_dict()),
    }
    if checkpoint := ctx.restore():
        net.load_state_dict(checkpoint["net"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        state = checkpoint["state"]
    rows = Rows((data.train_x, data.train_y), ctx.device)
    while state["looks"] < run.epochs * run.evaluations and state["waited"] < run.patience:
        order = part_of_epoch(len(rows), state["looks"], ctx.seed, run)
        started = time.perf_counter()
        loss = _pass(net, forward, rows, order, optimizer, ctx, penalty)
        state["seconds"] += time.perf_counter() - started  # a GPU is done too: the loss has been read
        state["examples"] += len(order)
        state["looks"] += 1
        val_auc = auc(data.val_y, predict(net, forward, data.val_x, ctx))
        ctx.report(epoch=state["looks"] / run.evaluations, loss=loss, val_auc=val_auc)
        if not np.isfinite(loss):
            break
        state["waited"] += 1
        if val_auc > state["best_auc"]:
            state |= {"waited": 0, "best_auc": val_auc, "best": copy.deepcopy(net.state_dict())}
        ctx.checkpoint({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "state": state})
    if state["best_auc"] >= 0:
        net.load_state_dict(state["best"])
    return state["examples"] / state["seconds"] if state["examples"] else None


def part_of_epoch(rows: int, look: int, seed: int, run: Run) -> Tensor:
    """Positions of the training rows between one look at validation and the next, (n,) int64.

    Every epoch has its own order, and its looks divide it into equally many batches, or nearly so.

    Raises:
        BenchError: an epoch has fewer batches than it should have looks.
    """
    epoch, part = divmod(look, run.evaluations)
    batches = math.ceil(rows / run.batch)
    if batches < run.evaluations:
        raise BenchError(
            f"embedding_scale: run.evaluations: {run.evaluations} looks at validation an epoch, but {rows}"
            f" training rows are {batches} batches; nearest: {batches}"
        )
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed * 10_007 + epoch))
    first, last = (batches * k // run.evaluations * run.batch for k in (part, part + 1))
    return order[first:last]


def predict(net: nn.Module, forward: Forward, x: np.ndarray, ctx: Context) -> np.ndarray:
    """Probabilities of the rows ``x`` (n, N), (n,) float32, in evaluation mode.

    In full precision whatever ``ctx.amp`` says: half-precision logits tie, and AUC sees every tie.
    """
    net.eval()
    with torch.no_grad():
        parts = [
            torch.sigmoid(forward(part))
            for (part,) in Rows((x,), ctx.device).batches(torch.arange(len(x)), EVAL_BATCH)
        ]
    return torch.cat(parts).cpu().numpy()


def _pass(
    net: nn.Module,
    forward: Forward,
    rows: Rows,
    order: Tensor,
    optimizer: torch.optim.Optimizer,
    ctx: Context,
    penalty: Penalty | None,
) -> float:
    """Train on the training rows ``order``; gives their mean loss, 0 if there is no batch of two rows."""
    net.train()
    total, count = torch.zeros((), device=rows.device), 0
    for x, y in rows.batches(order, ctx.run.batch):
        if len(x) < 2:
            continue  # a last batch of one row has no batch statistics
        with _precision(ctx):
            logits = forward(x)
        loss = F.binary_cross_entropy_with_logits(logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss if penalty is None else loss + penalty(x))
        optimizer.step()
        total += loss.detach() * len(x)
        count += len(x)
    return float(total) / max(1, count)


def _precision(ctx: Context) -> torch.autocast:
    return torch.autocast(torch.device(ctx.device).type, dtype=torch.bfloat16, enabled=ctx.amp)
