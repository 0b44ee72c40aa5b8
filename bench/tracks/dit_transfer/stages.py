"""Work that cells share: what the pre-trained network draws, and features of real pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.contract import Needs, Stage, StageContext, Task
from bench.tracks.dit_transfer import settings
from bench.tracks.dit_transfer.settings import Run

if TYPE_CHECKING:
    import numpy as np

FEATURES, BANK = "dit-features", "dit-bank"
#: Files of the stages.
FEATURES_FILE, BANK_FILE = "features.npz", "bank.npy"
#: The set of real pictures whose features are Inception's; those of all others are EfficientNet-Lite0's.
INCEPTION = "inception"
#: What of a run's settings decides which pictures are real, and by which networks' features.
_READ = ("pictures", "inception")
#: Pictures of the pre-training that what was forgotten is measured against.
SOURCES = 1_000


def thinned(rows: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of rows, spread evenly; 0: all."""
    import numpy as np

    if not n or len(rows) <= n:
        return rows
    some: np.ndarray = rows[np.linspace(0, len(rows) - 1, n).astype(int)]
    return some


def features(task: Task, run: Run, reads: Sequence[Stage], data: str | None, needs: Needs) -> Stage:
    """Features of a target's held-out and training pictures, and of the source's."""
    side = settings.recipe(task.params["target"], run).features
    return Stage(
        name=FEATURES,
        build=encode,
        params={
            "of": dict(task.params),
            "run": {k: getattr(run, k) for k in _READ},
            "data": data,
            "side": side,
        },
        needs=needs,
        stages=tuple(reads),
    )


def encode(ctx: StageContext) -> None:
    """Write ``test``, ``train`` and, where there are some, ``source``: (n, 1280) float32 each.

    Where FID applies ``inception`` too, (m, 2048).

    Raises:
        BenchError: the file of Inception's weights is not the published one.
    """
    import numpy as np

    from bench.tracks.dit_transfer import scoring
    from bench.tracks.dit_transfer.track import source_of

    run = Run(**ctx.params["run"])
    target = ctx.params["of"]["target"]
    source, found = source_of(target), {}
    lite = scoring.lite0(ctx.params["side"], ctx.device)
    nets: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if (weights := source.inception(run)) is not None:
        nets[INCEPTION] = scoring.inception_net(weights, ctx.device)
    for name, batches in source.real(target, run, ctx.stage).items():
        net = nets.get(name, lite)
        found[name] = np.concatenate([net(pictures) for pictures in batches])
    np.savez(ctx.outdir / FEATURES_FILE, **found)  # type: ignore[arg-type]


def bank(task: Task, run: Run) -> Sequence[Stage]:
    """Pictures that the pre-trained network draws, of all its classes alike, before any tuning.

    Source: Diff-Tuning (sheet §2). Its size and sampler could not be read: as the scorer draws, `Recipe.bank`
    of them.
    """
    from bench.tracks.dit_transfer.track import source_of

    target = task.params["target"]
    return source_of(target).bank_stages(target, run)
