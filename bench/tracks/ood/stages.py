"""Work that the rows of a task share: the features of the source pictures by the frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bench.contract import Needs, Stage, StageContext, Task
from bench.tracks.ood.settings import Run

FEATURES, FILE = "ood-features", "features.safetensors"


def frozen_features(task: Task, run: Run) -> Sequence[Stage]:
    """Training and validation features of a task, for rows that never train the image tower."""
    from bench.tracks.ood.track import TRACK

    here = TRACK.missing(task, run) is None
    return (
        Stage(
            name=FEATURES,
            build=encode,
            params={
                "task": task.name, "of": dict(task.params), "run": asdict(run),
                "data": TRACK.fingerprint(task, run) if here else None,
            },
            needs=Needs(mem_gb=4, minutes=120),
            stages=tuple(TRACK.stages(task, run)),
        ),
    )  # fmt: skip


def encode(ctx: StageContext) -> None:
    """Write the features, (n, D) and (m, D) of length 1, float32."""
    from safetensors.torch import save_file

    from bench.tracks.ood import training
    from bench.tracks.ood.track import TRACK

    task = Task(name=ctx.params["task"], params=ctx.params["of"])
    data = TRACK.load(task, Run(**ctx.params["run"]), _Inputs(ctx))
    model = data.encoder().to(ctx.device)
    features = {"train": training.encoded(model, data.train), "val": training.encoded(model, data.val)}
    save_file({k: v.cpu().contiguous() for k, v in features.items()}, ctx.outdir / FILE)


class _Inputs:
    """What a track may use to open its data, out of what a stage is given."""

    seed: int | None = None

    def __init__(self, ctx: StageContext) -> None:
        self.device, self.stage = ctx.device, ctx.stage
