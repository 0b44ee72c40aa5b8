"""Work that the rows of a task share: the features of the source pictures by the encoder as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract import Context, Needs, Stage, StageContext, Task
from bench.tracks.ood.settings import Run
from bench.tracks.ood.sources.by_name import source_of

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.ood.data import OodData

FEATURES, FILE, IDS = "ood-features", "features.safetensors", "ids.npy"


@dataclass(slots=True)
class _OfSeed:
    """The `Inputs` of a cell of some seed, for a stage that serves the cells of all seeds."""

    seed: int
    device: str
    stage: Callable[[str], Path]


def frozen_features(task: Task, run: Run) -> Sequence[Stage]:
    """The stage of a task's training and validation features, for rows that never train the image tower."""
    if task.brought:
        from bench.tracks.ood.sources import brought_features

        return brought_features.stages(task, run, FEATURES, FILE, IDS)
    source = source_of(task.params["dataset"])
    return (
        Stage(
            name=FEATURES,
            build=encode,
            params={
                "task": task.name, "of": dict(task.params), "run": asdict(run),
                "folds": source.folds(task),
                "data": source.fingerprint(task, run) if source.missing(task, run) is None else None,
            },
            needs=Needs(mem_gb=4, minutes=120),
            stages=tuple(source.stages(task, run)),
        ),
    )  # fmt: skip


def encode(ctx: StageContext) -> None:
    """Write the features (n, D) of all pictures that any seed trains or validates on, and their ids (n,).

    Each is of length 1, in single precision.
    """
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from bench.tracks.ood import training

    task = Task(name=ctx.params["task"], params=ctx.params["of"])
    run = Run(**ctx.params["run"])
    source = source_of(task.params["dataset"])
    model = source.encoder(run).to(ctx.device)
    ids: dict[str, None] = {}
    parts = []
    for fold in range(source.folds(task)):
        splits = source.splits(task, run, _OfSeed(fold, ctx.device, ctx.stage))
        for pictures in (splits.train, splits.val):
            new = np.array([i not in ids for i in pictures.ids])
            parts.append(training.encoded(model, pictures, np.flatnonzero(new)).cpu())
            ids |= dict.fromkeys(pictures.ids[new].tolist())
    save_file({"features": torch.cat(parts)}, ctx.outdir / FILE)
    np.save(ctx.outdir / IDS, np.array(list(ids)))


def read_features(ctx: Context, data: OodData, device: str) -> tuple[Tensor, Tensor]:
    """Features of the training pictures (n, D) and of the validation pictures (m, D), as `encode` wrote them.

    For methods that declare the stage `frozen_features`.
    """
    import numpy as np
    from safetensors.torch import load_file

    folder = ctx.stage(FEATURES)
    found = load_file(folder / FILE, device=device)["features"]
    at = {i: n for n, i in enumerate(np.load(folder / IDS).tolist())}
    return found[[at[i] for i in data.train.ids.tolist()]], found[[at[i] for i in data.val.ids.tolist()]]
