"""The laptop's targets: pictures of 32 pixels a side out of packages, for a network trained on emoji."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import packages
from bench.contract import Inputs, Needs, Stage, StageContext, digest
from bench.data import EMBEDDED
from bench.data.drawings import emoji
from bench.data.transfer import sets as transfer_sets
from bench.file_digest import file_digest
from bench.tracks.dit_transfer import pretrain, stages
from bench.tracks.dit_transfer.settings import Run, recipe

if TYPE_CHECKING:
    from bench.nn.dit import DiT
    from bench.tracks.dit_transfer.data import Parts

#: Of the features of real pictures.
NEEDS = Needs(mem_gb=4, minutes=30)
#: The pre-trained weights that travel with the package; `pretrain` says how they were made.
WEIGHTS = EMBEDDED / pretrain.FILE
_MAKE = f"bench artifacts build dit-lite --out {WEIGHTS.parent}"


def missing(target: str, run: Run) -> str | None:
    """What has to be installed or made, or None."""
    if why := transfer_sets.missing(target) or emoji.missing(transfer_sets.SOURCE_STYLES):
        return why
    if why := packages.LITE0.missing("KID-lite0"):
        return why
    if not WEIGHTS.is_file():
        return f"the pre-trained network: no file {WEIGHTS}: install gridbench again, or: {_MAKE}"
    return None


def fingerprint(target: str, run: Run) -> str:
    """Digest of the pictures' sources and of the weights."""
    of = [transfer_sets.fingerprint(target), emoji.fingerprint(transfer_sets.SOURCE_STYLES)]
    return digest([*of, _weights()])


def _weights() -> str:
    return file_digest(WEIGHTS, on_disk=False)[:16]


def data_stages(target: str, run: Run) -> Sequence[Stage]:
    """The drawing of the target's pictures and of the source's."""
    both = (*transfer_sets.stages(target), *emoji.stages(transfer_sets.SOURCE_STYLES))
    return tuple({s.name: s for s in both}.values())


def parts(target: str, run: Run, inputs: Inputs) -> Parts:
    """The target's training pictures; milliseconds."""
    from bench.tracks.dit_transfer.data import Parts, Pixels

    found = transfer_sets.read(target, stage=inputs.stage)
    rows = stages.thinned(np.flatnonzero(found.part == "train"), run.pictures)
    return Parts(
        classes=found.classes, x=Pixels(found.images[rows]), y=found.label[rows],
        pretrained=partial(pretrained, len(found.classes)), bank=bank, decode=_decoded,
    )  # fmt: skip


def real(target: str, run: Run, stage: Callable[[str], Path]) -> dict[str, list[np.ndarray]]:
    """Pictures whose features the scorer keeps: held-out and training ones, and some of the source's."""
    found = transfer_sets.read(target, stage=stage)
    source = transfer_sets.source(stage=stage).images
    shown = np.random.default_rng(0).permutation(len(source))[: stages.SOURCES]
    rows = {p: stages.thinned(np.flatnonzero(found.part == p), run.pictures) for p in ("test", "train")}
    both = {p: [found.images[r]] for p, r in rows.items()}
    return both | {"source": [source[stages.thinned(np.sort(shown), run.pictures)]]}


def inception(run: Run) -> None:
    """FID is for the paper's pictures."""


def pretrained(classes: int | None = None) -> DiT:
    """The network as it was pre-trained; with ``classes``, with a label table for so many of a target."""
    from bench.nn import dit

    model = dit.load(WEIGHTS)
    if classes is not None:
        model.relabel(classes)
    return model


def _decoded(x: Any) -> np.ndarray:
    from bench.nn.diffusion import to_pictures

    pictures: np.ndarray = to_pictures(x)
    return pictures


# -------------------------------------------------------------------------------------------------- the bank


def bank_stages(target: str, run: Run) -> Sequence[Stage]:
    """One bank for all targets: it is the source's."""
    r = recipe(target, run)
    params = {"n": r.bank, "chain": r.chain, "guidance": r.guidance}
    weights = _weights() if WEIGHTS.is_file() else None
    return (
        Stage(
            name=stages.BANK, build=draw_bank, params={**params, "weights": weights},
            needs=Needs(mem_gb=4, minutes=30),
        ),
    )  # fmt: skip


def draw_bank(ctx: StageContext) -> None:
    """Write pictures (n, 32, 32, 3) uint8."""
    import torch

    from bench.nn.diffusion import to_pictures
    from bench.tracks.dit_transfer import training

    p, model = ctx.params, pretrained().to(ctx.device)
    labels, draw = np.arange(p["n"]) % model.null, torch.Generator().manual_seed(0)
    x = training.drawn(model, model, labels, draw, chain=p["chain"], guidance=p["guidance"])
    np.save(ctx.outdir / stages.BANK_FILE, to_pictures(x))


def bank(folder: Path) -> Any:
    """The bank in its folder."""
    from bench.tracks.dit_transfer.data import Pixels

    return Pixels(np.load(folder / stages.BANK_FILE))
