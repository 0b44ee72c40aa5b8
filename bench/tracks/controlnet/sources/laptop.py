"""The laptop's five tasks: tiles of a map of the world that follow a condition in register with them.

The base networks are the suite's own, in pixel space and without prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import packages
from bench.contract import BenchError, Inputs, Needs, Stage, StageContext, Task, digest
from bench.data.earth import tiles
from bench.file_digest import file_digest
from bench.tracks.common.subsets import thinned
from bench.tracks.controlnet import pretrain
from bench.tracks.controlnet.nets import annotators
from bench.tracks.controlnet.settings import LAPTOP, Run, UNetConfig, recipe, snapshots_of
from bench.tracks.controlnet.sources import aligned
from bench.tracks.controlnet.sources.names import BANK, BANK_FILE, FEATURES, FEATURES_FILE

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from bench.tracks.controlnet.data import Base, ControlData, Examples, Truth

#: Pixels a side of what EfficientNet-Lite0 takes.
_FEATURE_SIDE = 128
#: Share of land or lake of a tile whose condition is followed at snapshots: with a coast in it.
_LEAST, _MOST = 0.15, 0.85


def _names(task: Task) -> tuple[str, str]:
    """The condition and the picture set of a task."""
    return LAPTOP[task.name]


def missing(task: Task, run: Run) -> str | None:
    """Which package has to be installed or which file made, or None."""
    condition, pictures = _names(task)
    if why := tiles.missing(f"earth-{pictures}") or packages.LITE0.missing("KID-lite0"):
        return why
    if why := aligned.missing(condition):
        return why
    if not (file := pretrain.weights(pictures)).is_file():
        make = f"bench artifacts build {pretrain.stage(pictures).name} --out {file.parent}"
        return f"the pre-trained network: no file {file}: install gridbench again, or: {make}"
    return None


def fingerprint(task: Task, run: Run) -> str:
    """Digest of what the pictures and conditions are made of and of the pre-trained weights."""
    condition, pictures = _names(task)
    of = [tiles.fingerprint(f"earth-{pictures}")]
    of += [tiles.fingerprint("earth-heights")] if condition in ("depth", "normal") else []
    return digest([of, dict(annotators.versions(condition)), _weights(pictures)])


def _weights(pictures: str) -> str | None:
    """Digest of the file of the weights; None if there is none."""
    file = pretrain.weights(pictures)
    return file_digest(file, on_disk=False)[:16] if file.is_file() else None


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """Tiles, the condition's maps or reader, and features of the pictures that are not trained on."""
    condition, pictures = _names(task)
    reads = aligned.stages(condition, run.reader)
    cut = tiles.stages(pictures)
    return (*reads, Stage(
        name=FEATURES, build=encode, needs=Needs(mem_gb=4, minutes=30), stages=cut,
        params={"set": pictures, "part": run.looks_at, "pictures": run.pictures, "side": _FEATURE_SIDE},
    ))  # fmt: skip


def encode(ctx: StageContext) -> None:
    """Write features (n, 1280) float32 of the pictures for testing, or of those for validation."""
    from bench.tracks.controlnet import scoring

    found = tiles.read(ctx.params["set"], stage=ctx.stage)
    held_out = thinned(np.flatnonzero(found.part == ctx.params["part"]), ctx.params["pictures"])
    features = scoring.lite0(ctx.params["side"], ctx.device)(found.picture[held_out])
    np.save(ctx.outdir / FEATURES_FILE, features)


# ---------------------------------------------------------------------------------- which tiles are for what


@dataclass(frozen=True, slots=True)
class _Rows:
    """Positions of tiles: to train on, and to look at, those of the snapshots first."""

    train: np.ndarray
    looked_at: np.ndarray


def _rows(found: tiles.Tiles, run: Run, samples: int, looks: int) -> _Rows:
    """Which tiles are trained on and which are looked at.

    Tiles with a coast are looked at in snapshots, in a fixed order; where a part has too few (62 for
    validation), others fill up. In the end others are added at random.

    Args:
        found: all tiles.
        run: ``looks_at``, ``pictures``.
        samples: how many tiles are looked at in all.
        looks: how many of them at a snapshot.
    """
    land = (found.surface > 0).mean((1, 2))
    coast = (land >= _LEAST) & (land <= _MOST)
    order = np.random.default_rng(0).permutation(len(found))
    part = order[found.part[order] == run.looks_at]
    first = part[coast[part]][:looks]
    others = np.random.default_rng(1).permutation(part[~np.isin(part, first)])
    train = thinned(np.flatnonzero(found.part == "train"), run.pictures)
    return _Rows(train, np.concatenate([first, others])[:samples])


def _sizes(task: Task, run: Run) -> tuple[int, int]:
    """How many tiles are looked at in all, and at a snapshot."""
    r = recipe(task.name, run)
    return r.samples, min(r.tiles, r.samples)


# ------------------------------------------------------------------------------------ what methods are given


class Aligned:
    """Pictures (n, 32, 32, 3) uint8 with their conditions (n, 32, 32, channels), without prompts."""

    def __init__(self, pictures: np.ndarray, maps: np.ndarray) -> None:
        self._pictures, self._maps = pictures, maps

    def __len__(self) -> int:
        return len(self._pictures)

    def batch(self, rows: np.ndarray, generator: Generator) -> Examples:
        """See `Pictures.batch`; nothing is random."""
        import torch

        from bench.nn.diffusion import from_pictures
        from bench.tracks.controlnet.data import Examples

        x = from_pictures(self._pictures[rows]).contiguous(memory_format=torch.channels_last)
        maps = torch.from_numpy(self._maps[rows].astype(np.float32)).movedim(-1, 1)
        return Examples(x, maps, _encoded(("",) * len(rows)))


def control_data(task: Task, run: Run, inputs: Inputs) -> ControlData:
    """See `ControlSource.control_data`."""
    from bench.tracks.controlnet.data import ControlData

    condition, pictures = _names(task)
    found = tiles.read(pictures, stage=inputs.stage)
    maps = aligned.maps(condition, found, inputs.stage)
    r, rows = recipe(task.name, run), _rows(found, run, *_sizes(task, run)).train
    return ControlData(
        condition=condition, channels=aligned.channels(condition),
        pictures=Aligned(found.picture[rows], maps[rows]), base=base(pictures), bank=bank, recipe=r,
        snapshots=snapshots_of(r, run),
    )  # fmt: skip


def base(pictures: str) -> Base:
    """The base network of a picture set."""
    from bench.nn.diffusion import Diffusion
    from bench.tracks.controlnet.data import Base
    from bench.tracks.controlnet.nets import unet

    return Base(
        unet=partial(unet.load, pretrain.weights(pictures), UNetConfig()), diffusion=Diffusion(unet.SCHEDULE),
        shape=(3, unet.SIDE, unet.SIDE), pixels=True, encode=_encoded, decode=_decoded,
    )  # fmt: skip


def _encoded(prompts: Sequence[str]) -> Tensor:
    from bench.tracks.controlnet.nets import unet

    if any(prompts):
        raise BenchError(f"controlnet: a prompt {next(filter(None, prompts))!r}, but the base knows none")
    return unet.null_text(len(prompts), UNetConfig())


def _decoded(x: Tensor) -> np.ndarray:
    pictures: np.ndarray = x.clamp(-1, 1).movedim(1, -1).float().numpy()
    return pictures


def truth(task: Task, run: Run, inputs: Inputs) -> Truth:
    """See `ControlSource.truth`."""
    from bench.tracks.controlnet.data import Controls, Truth

    condition, pictures = _names(task)
    found = tiles.read(pictures, stage=inputs.stage)
    samples, looks = _sizes(task, run)
    rows = _rows(found, run, samples, looks).looked_at
    annotate = aligned.annotator(condition, inputs.stage, inputs.device)
    asked = Controls(aligned.maps(condition, found, inputs.stage)[rows], ("",) * len(rows))
    r = recipe(task.name, run)
    return Truth(
        condition=condition, asked=asked, real=found.picture[rows],
        reread=annotate(found.picture[rows[:looks]]), annotate=annotate,
        features=np.load(inputs.stage(FEATURES) / FEATURES_FILE), size=_FEATURE_SIDE, recipe=r,
        snapshots=snapshots_of(r, run), threshold=run.threshold, device=inputs.device,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------- the bank


def bank_stages(task: Task, run: Run) -> Sequence[Stage]:
    """Pictures that the base of a picture set samples, with the condition of the task."""
    condition, pictures = _names(task)
    r = recipe(task.name, run)
    reads = tuple(s for s in aligned.stages(condition, run.reader) if s.name == aligned.READER)
    params = {
        "condition": condition, "set": pictures, "n": r.bank, "chain": r.chain,
        "made_by": dict(annotators.versions(condition)), "weights": _weights(pictures), "task": task.name,
    }  # fmt: skip
    return (
        Stage(name=BANK, build=draw_bank, params=params, needs=Needs(mem_gb=4, minutes=30), stages=reads),
    )


def draw_bank(ctx: StageContext) -> None:
    """Write pictures that the base samples, (n, 32, 32, 3) uint8, and what is read from them."""
    from bench.tracks.controlnet import training

    p, of = ctx.params, base(ctx.params["set"])
    how = recipe(p["task"], Run(chain=p["chain"]))
    found = [of.decode(x) for x in training.unconditional(of, p["n"], 0, how, ctx.device)]
    pictures = np.rint((np.concatenate(found) + 1) * 127.5).astype(np.uint8)
    maps = aligned.annotator(p["condition"], ctx.stage, ctx.device)(pictures)
    np.savez(ctx.outdir / BANK_FILE, pictures=pictures, maps=maps.astype(np.float16))


def bank(folder: Path) -> Aligned:
    """The pictures in the folder of a bank's stage."""
    with np.load(folder / BANK_FILE) as arrays:
        return Aligned(arrays["pictures"], arrays["maps"])
