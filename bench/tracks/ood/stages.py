"""Work that the rows of a task share: the features of the source pictures by the encoder as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.contract import Context, Needs, Stage, StageContext, Task
from bench.tracks.ood.settings import Run
from bench.tracks.ood.sources.by_name import source_of

if TYPE_CHECKING:
    from torch import Tensor

FEATURES, FILE = "ood-features", "features.safetensors"


def frozen_features(task: Task, run: Run) -> Sequence[Stage]:
    """The stage of a task's training and validation features, for rows that never train the image tower."""
    source = source_of(task.params["dataset"])
    return (
        Stage(
            name=FEATURES,
            build=encode,
            params={
                "task": task.name, "of": dict(task.params), "run": asdict(run),
                "data": source.fingerprint(task, run) if source.missing(task, run) is None else None,
            },
            needs=Needs(mem_gb=4, minutes=120),
            stages=tuple(source.stages(task, run)),
        ),
    )  # fmt: skip


def encode(ctx: StageContext) -> None:
    """Write the features of the training pictures (n, D) and the validation pictures (m, D).

    Each is of length 1, in single precision.
    """
    from safetensors.torch import save_file

    from bench.tracks.ood import training

    task = Task(name=ctx.params["task"], params=ctx.params["of"])
    run = Run(**ctx.params["run"])
    source = source_of(task.params["dataset"])
    splits = source.splits(task, run, ctx)
    model = source.encoder(run).to(ctx.device)
    features = {"train": training.encoded(model, splits.train), "val": training.encoded(model, splits.val)}
    save_file({k: v.cpu().contiguous() for k, v in features.items()}, ctx.outdir / FILE)


def read_features(ctx: Context, device: str) -> tuple[Tensor, Tensor]:
    """What `encode` wrote: features of the training pictures (n, D) and of the validation pictures (m, D).

    For methods that declare the stage `frozen_features`.
    """
    from safetensors.torch import load_file

    found = load_file(ctx.stage(FEATURES) / FILE, device=device)
    return found["train"], found["val"]
