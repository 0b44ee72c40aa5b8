"""A track whose cells use a GPU: what they find there is what the engine promises."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contract import Metric, Needs, Score, Task, Track, method


@dataclass(frozen=True)
class Grid:
    pass


@dataclass(frozen=True)
class Run:
    pass


class Cuda(Track):
    name = "cuda"
    metrics = (Metric(name="value", better="higher"),)
    reference = "multiplies"
    preload = ("torch",)
    Grid, Run = Grid, Run

    def tasks(self, grid):
        return [Task(name="t", params={})]

    def load(self, task, run, inputs):
        assert inputs.device == "cuda"

    def truth(self, task, run, inputs):
        return None

    def score(self, task, answer, truth, history):
        import torch

        torch.randn(7, device="cuda")  # an evaluation that draws: the method's own draws stay as they are
        return Score(metrics={"value": float(answer)})

    def smoke(self):
        return Grid(), Run()


TRACK = Cuda()
part = Needs(gpu=0.25, mem_gb=12)


@method("cuda", name="Multiplies in mixed precision", needs=part)
def multiplies(data, hp, ctx):
    import torch

    assert (ctx.device, ctx.amp) == ("cuda", True)
    assert not torch.cuda._is_in_bad_fork()
    a = torch.ones(64, 64, device=ctx.device)
    with torch.autocast(ctx.device, torch.bfloat16, enabled=ctx.amp):
        b = a @ a
    assert b.dtype == torch.bfloat16
    return b.float().mean()


@method("cuda", name="Draws twice", hp={"scored": False}, variants={"scored": {"scored": True}}, needs=part)
def draws(data, hp, ctx):
    import torch

    first = torch.rand(1, device=ctx.device)
    if hp["scored"]:
        ctx.snapshot(1, 0.0)
    return (first + torch.rand(1, device=ctx.device)).item()


@method("cuda", name="Takes more than its part of the card", needs=part)
def greedy(data, hp, ctx):
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    return torch.empty(int(0.5 * total), dtype=torch.uint8, device=ctx.device).numel()


@method("cuda", name="Goes on from a checkpoint of tensors on the device", needs=part)
def restores(data, hp, ctx):
    import torch

    ctx.checkpoint({"w": torch.full((3,), 2.0, device=ctx.device)})
    state = ctx.restore()
    assert state["w"].device.type == "cuda"
    return state["w"].sum()
