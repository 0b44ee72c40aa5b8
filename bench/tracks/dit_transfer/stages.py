"""Work that several cells share: a bank that the pre-trained network samples, features of real pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.contract import Needs, Stage, StageContext, Task
from bench.tracks.dit_transfer import settings
from bench.tracks.dit_transfer.settings import Run
from bench.tracks.dit_transfer.sources.by_name import source_of
from bench.tracks.dit_transfer.sources.names import BANK as BANK
from bench.tracks.dit_transfer.sources.names import INCEPTION

if TYPE_CHECKING:
    import numpy as np

#: The stage of features of real pictures, and its file.
FEATURES, FEATURES_FILE = "dit-features", "features.npz"
#: The run settings that decide which real pictures there are, and by which networks their features are.
_READ = ("pictures", "inception")


def features(task: Task, run: Run, reads: Sequence[Stage], data: str | None, needs: Needs) -> Stage:
    """The stage that computes features of a target's held-out and training pictures, and of the source's.

    Args:
        task: names the target.
        run: run settings.
        reads: the stages in which the target's pictures are.
        data: digest of what the pictures are made of; None where they are missing.
        needs: resources of the stage.
    """
    return Stage(
        name=FEATURES,
        build=encode,
        params={
            "of": dict(task.params),
            "run": {k: getattr(run, k) for k in _READ},
            "data": data,
            "side": settings.recipe(task.params["target"], run).features,
        },
        needs=needs,
        stages=tuple(reads),
    )


def encode(ctx: StageContext) -> None:
    """Write the features ``test``, ``train`` and, where there are some, ``source``: (n, 1280) float32 each.

    Where FID applies ``inception`` too, (n, 2048) float32.

    Raises:
        BenchError: the file of Inception's weights is not the published one.
    """
    import numpy as np

    from bench.tracks.dit_transfer import scoring

    run, target = Run(**ctx.params["run"]), ctx.params["of"]
    task = Task(name=target["target"], params=target)
    source = source_of(task)
    lite0 = scoring.lite0(ctx.params["side"], ctx.device)
    networks: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if (weights := source.inception(run)) is not None:
        networks[INCEPTION] = scoring.inception_net(weights, ctx.device)
    found = {}
    for name, batches in source.real_pictures(task, run, ctx.stage).items():
        network = networks.get(name, lite0)
        found[name] = np.concatenate([network(pictures) for pictures in batches])
    np.savez(ctx.outdir / FEATURES_FILE, **found)  # type: ignore[arg-type]


def bank(task: Task, run: Run) -> Sequence[Stage]:
    """The stage in which the pre-trained network, before any tuning, samples pictures of all its classes.

    Source: Diff-Tuning (arXiv 2406.00773). The bank's size and sampler could not be read: pictures are
    sampled as for the scorer, `Recipe.bank` of them.
    """
    if task.brought:
        from bench.tracks.dit_transfer.sources import brought

        return brought.bank_stages(run)
    return source_of(task).bank_stages(task, run)
