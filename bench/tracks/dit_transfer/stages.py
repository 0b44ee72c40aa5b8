"""Work that cells share: what the pre-trained network draws, and features of real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from bench.contract import Needs, Stage, StageContext, Task
from bench.tracks.dit_transfer import settings
from bench.tracks.dit_transfer.settings import Run

FEATURES, BANK = "dit-features", "dit-bank"
#: Files of the stages.
FEATURES_FILE, BANK_FILE = "features.npz", "bank.npy"
#: Pictures of the pre-training that what was forgotten is measured against.
SOURCES = 1_000


def features(task: Task, run: Run, reads: Sequence[Stage], data: str | None) -> Stage:
    """Features of a target's held-out and training pictures, and of the source's."""
    side = settings.recipe(task.params["target"], run).features
    return Stage(
        name=FEATURES,
        build=encode,
        params={"of": dict(task.params), "run": asdict(run), "data": data, "side": side},
        needs=Needs(mem_gb=4, minutes=30),
        stages=tuple(reads),
    )


def encode(ctx: StageContext) -> None:
    """Write ``test``, ``train`` and, if there is one, ``source``: (n, 1280) float32 each."""
    from bench.tracks.dit_transfer import scoring
    from bench.tracks.dit_transfer.track import source_of

    run = Run(**{**ctx.params["run"], "switches": tuple(ctx.params["run"]["switches"])})
    target = ctx.params["of"]["target"]
    net = scoring.lite0(ctx.params["side"], ctx.device)
    pictures = source_of(target).real(target, run, ctx.stage)
    np.savez(ctx.outdir / FEATURES_FILE, **{name: net(p) for name, p in pictures.items()})  # type: ignore[arg-type]


def bank(task: Task, run: Run) -> Sequence[Stage]:
    """Pictures that the pre-trained network draws, of all its classes alike, before any tuning.

    Source: Diff-Tuning (sheet §2). Its size and sampler could not be read: as the scorer draws, `Recipe.bank`
    of them.
    """
    from bench.tracks.dit_transfer.track import source_of

    target = task.params["target"]
    return source_of(target).bank_stages(target, run)
