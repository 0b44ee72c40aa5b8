"""The stage of features of pictures of the user's own, for rows that never train the image tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.contract import Needs, Stage, StageContext, Task
from bench.tracks.ood.settings import Run
from bench.tracks.ood.sources import brought


@dataclass(slots=True)
class _Inputs:
    """The `Inputs` of a cell, for a stage: the split does not depend on the seed."""

    device: str
    stage: Callable[[str], Path]
    seed: None = None


def stages(task: Task, run: Run, name: str, file: str, ids: str) -> Sequence[Stage]:
    """The stage of that name, with its files: features (n, D) and ids (n,)."""
    here = brought.missing(task, run) is None
    params = {
        "task": task.name, "of": dict(task.params), "brought": task.brought, "run": asdict(run),
        "data": brought.fingerprint(task, run) if here else None, "files": [file, ids],
    }  # fmt: skip
    return (Stage(name=name, build=encode_brought, params=params, needs=Needs(mem_gb=4, minutes=120)),)


def encode_brought(ctx: StageContext) -> None:
    """Write the features of all training and validation pictures, of length 1, and their ids."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from bench.tracks.ood import training

    p, run = ctx.params, Run(**ctx.params["run"])
    task = Task(name=p["task"], params=p["of"], brought=p["brought"])
    splits = brought.splits(task, run, _Inputs(ctx.device, ctx.stage))
    model = brought.encoder(task, run).to(ctx.device)
    both = (splits.train, splits.val)
    features = [training.encoded(model, pictures, np.arange(len(pictures))).cpu() for pictures in both]
    file, ids = p["files"]
    save_file({"features": torch.cat(features)}, ctx.outdir / file)
    np.save(ctx.outdir / ids, np.concatenate([pictures.ids for pictures in both]))
