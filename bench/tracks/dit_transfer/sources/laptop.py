"""The laptop's targets: pictures of 32 pixels a side out of packages, for a network trained on emoji."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import packages
from bench.contract import Inputs, Needs, Stage, StageContext, Task, digest
from bench.data import EMBEDDED
from bench.data.drawings import emoji
from bench.data.transfer import sets as transfer_sets
from bench.file_digest import file_digest
from bench.tracks.common.subsets import thinned
from bench.tracks.dit_transfer import pretrain
from bench.tracks.dit_transfer.settings import Run, recipe
from bench.tracks.dit_transfer.sources.names import BANK, BANK_FILE

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TargetData
    from bench.tracks.dit_transfer.nets.dit import DiT

#: Of the stage that computes features of real pictures.
NEEDS = Needs(mem_gb=4, minutes=30)
#: Number of the pictures of the pre-training that forgetting is measured on.
SOURCE_PICTURES = 1_000
#: The pre-trained weights that travel with the package; `pretrain` says how they were made.
WEIGHTS = EMBEDDED / pretrain.FILE
_MAKE = f"bench artifacts build dit-lite --out {WEIGHTS.parent}"


def missing(task: Task, run: Run) -> str | None:
    """Which package has to be installed or which file made, or None."""
    if why := transfer_sets.missing(_target(task)) or emoji.missing(transfer_sets.SOURCE_STYLES):
        return why
    if why := packages.LITE0.missing("KID-lite0"):
        return why
    if not WEIGHTS.is_file():
        return f"the pre-trained network: no file {WEIGHTS}: install gridbench again, or: {_MAKE}"
    return None


def fingerprint(task: Task, run: Run) -> str:
    """Digest of what the pictures are made of and of the pre-trained weights."""
    of = [transfer_sets.fingerprint(_target(task)), emoji.fingerprint(transfer_sets.SOURCE_STYLES)]
    return digest([*of, _weights()])


def _weights() -> str:
    """Digest of the file of the weights."""
    return file_digest(WEIGHTS, on_disk=False)[:16]


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """The stages that draw the target's pictures and those of the pre-training."""
    both = (*transfer_sets.stages(_target(task)), *emoji.stages(transfer_sets.SOURCE_STYLES))
    return tuple({s.name: s for s in both}.values())


def target_data(task: Task, run: Run, inputs: Inputs) -> TargetData:
    """See `TransferSource.target_data`."""
    from bench.tracks.dit_transfer.data import Pixels, TargetData

    pictures = transfer_sets.read(_target(task), stage=inputs.stage)
    rows = thinned(np.flatnonzero(pictures.part == "train"), run.pictures)
    return TargetData(
        classes=pictures.classes, x=Pixels(pictures.images[rows]), y=pictures.label[rows],
        pretrained=partial(pretrained, len(pictures.classes)), bank=bank, decode=_decoded,
    )  # fmt: skip


def real_pictures(task: Task, run: Run, stage: Callable[[str], Path]) -> dict[str, list[np.ndarray]]:
    """The target's held-out and training pictures, and some of the pre-training, each in one batch."""
    target = transfer_sets.read(_target(task), stage=stage)
    source = transfer_sets.source(stage=stage).images
    chosen = np.random.default_rng(0).permutation(len(source))[:SOURCE_PICTURES]
    rows = {p: thinned(np.flatnonzero(target.part == p), run.pictures) for p in ("test", "train")}
    both = {p: [target.images[r]] for p, r in rows.items()}
    return both | {"source": [source[thinned(np.sort(chosen), run.pictures)]]}


def groups(task: Task, run: Run, stage: Callable[[str], Path]) -> np.ndarray:
    """The families of the held-out pictures, in the order of `real_pictures`."""
    target = transfer_sets.read(_target(task), stage=stage)
    found: np.ndarray = target.group[thinned(np.flatnonzero(target.part == "test"), run.pictures)]
    return found


def inception(run: Run) -> None:
    """FID is for the paper's pictures."""


def _target(task: Task) -> str:
    return str(task.params["target"])


def pretrained(classes: int | None = None) -> DiT:
    """The network as it was pre-trained; with ``classes``, with a label table for so many of a target."""
    from bench.tracks.dit_transfer.nets import dit

    model = dit.load(WEIGHTS)
    if classes is not None:
        model.relabel(classes)
    return model


def _decoded(x: Any) -> np.ndarray:
    from bench.nn.diffusion import to_pictures

    pictures: np.ndarray = to_pictures(x)
    return pictures


# -------------------------------------------------------------------------------------------------- the bank


def bank_stages(task: Task, run: Run) -> Sequence[Stage]:
    """One bank serves all targets: its pictures are those of the pre-training."""
    r = recipe(_target(task), run)
    params = {"n": r.bank, "chain": r.chain, "guidance": r.guidance}
    weights = _weights() if WEIGHTS.is_file() else None
    return (
        Stage(
            name=BANK, build=draw_bank, params={**params, "weights": weights},
            needs=Needs(mem_gb=4, minutes=30),
        ),
    )  # fmt: skip


def draw_bank(ctx: StageContext) -> None:
    """Write pictures (n, 32, 32, 3) uint8 that the pre-trained network samples."""
    import torch

    from bench.nn.diffusion import to_pictures
    from bench.tracks.dit_transfer import training

    p, model = ctx.params, pretrained().to(ctx.device)
    labels, generator = np.arange(p["n"]) % model.null, torch.Generator().manual_seed(0)
    x = training.sampled(model, model, labels, generator, chain=p["chain"], guidance=p["guidance"])
    np.save(ctx.outdir / BANK_FILE, to_pictures(x))


def bank(folder: Path) -> Any:
    """The pictures in the folder of a bank's stage."""
    from bench.tracks.dit_transfer.data import Pixels

    return Pixels(np.load(folder / BANK_FILE))
