"""The laptop's conditions, in register with tiles of a map of the world, and their annotators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contract import BenchError, Needs, Stage, StageContext
from bench.data.earth import grid, tiles
from bench.tracks.controlnet import measures
from bench.tracks.controlnet.nets import annotators
from bench.tracks.controlnet.settings import CONDITIONS, LAPTOP, ReaderRecipe

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import Annotate

#: Conditions that the suite's own reader reads back; those of lines have annotators of their own.
READ = ("depth", "normal", "segmentation")
#: The stages of sketches of all tiles and of the reader of a condition, and their files.
SKETCHES, SKETCHES_FILE = "controlnet-sketches", "sketches.npy"
READER, READER_FILE = "controlnet-reader", "reader.safetensors"
#: Metres at which the logarithm of the height is 1, about the highest cell.
_HIGHEST = 6_600.0
#: A slope of so many metres a cell counts as one of 45 degrees: heights are exaggerated, as on a relief map.
#: At 2,000 metres the horizontal parts have a standard deviation of .04, which a network hardly sees, and a
#: linear reader of 5 x 5 pixels has R2 .35 and .37; at 250 metres .2, and R2 .41 and .44; at 125 the same R2.
#: Seen on tiles for training alone, a third of their blocks of longitude left out at a time.
_STEEP = 250.0
#: Shifts of the conditions by which a reader is tested.
_SHIFTS = 8


def missing(condition: str) -> str | None:
    """Which package a condition lacks, and the command that installs it, or None."""
    names = ("earth-heights",) if condition in ("depth", "normal") else ()
    return next((why for n in names if (why := tiles.missing(n))), None) or annotators.missing(condition)


def channels(condition: str) -> int:
    """How many channels a condition's maps have."""
    return {"normal": 3, "segmentation": len(grid.SURFACES)}.get(condition, 1)


def stages(condition: str, reader: int) -> tuple[Stage, ...]:
    """The stages that make a condition's maps and its reader, with the tiles that they read.

    Args:
        condition: its name.
        reader: steps in which a reader is trained.
    """
    pictures = LAPTOP[condition][1]
    needs_heights = condition in ("depth", "normal")
    cut = (*tiles.stages(pictures), *(tiles.stages("heights") if needs_heights else ()))
    if condition == "sketch":
        params = {"set": pictures, "made_by": dict(annotators.versions(condition))}
        return (*cut, Stage(name=SKETCHES, build=draw_sketches, params=params,
                            needs=Needs(mem_gb=4, minutes=30), stages=cut))  # fmt: skip
    if condition in READ:
        params = {"condition": condition, "set": pictures, "recipe": asdict(ReaderRecipe(steps=reader))}
        return (*cut, Stage(name=READER, build=train_reader, params=params,
                            needs=Needs(mem_gb=4, minutes=30), stages=cut))  # fmt: skip
    return cut


def maps(condition: str, found: tiles.Tiles, stage: Callable[[str], Path]) -> np.ndarray:
    """A condition's maps of all tiles, (n, 32, 32, channels) float32.

    Raises:
        BenchError: their number or size is not that of the pictures, or they are constant.
    """
    made = _made(condition, found, stage)
    if made.shape != (*found.picture.shape[:3], channels(condition)):
        raise BenchError(
            f"controlnet: the condition {condition!r} is {made.shape}, for pictures {found.picture.shape}"
            f" with {channels(condition)} channels"
        )
    if np.ptp(made) == 0:
        raise BenchError(
            f"controlnet: the condition {condition!r} is {made.flat[0]:g} in all {len(made)} pictures"
        )
    return made


def _made(condition: str, found: tiles.Tiles, stage: Callable[[str], Path]) -> np.ndarray:
    if condition == "edge":
        return annotators.canny(found.picture)
    if condition == "sketch":
        return np.asarray(np.load(stage(SKETCHES) / SKETCHES_FILE), np.float32)
    if condition == "segmentation":
        return np.asarray(np.eye(len(grid.SURFACES), dtype=np.float32)[found.surface])
    height, slope = tiles.read_heights(stage=stage)
    return depth(height) if condition == "depth" else normal(slope)


def depth(height: np.ndarray) -> np.ndarray:
    """Heights (n, h, w) in metres on a logarithmic scale from -1, the sea, to 1: (n, h, w, 1) float32."""
    scaled = 2 * np.log1p(height.clip(0)) / np.log1p(_HIGHEST) - 1
    return np.asarray(scaled[..., None], np.float32)


def normal(slope: np.ndarray) -> np.ndarray:
    """Unit vectors upright on the ground, by its gradient (n, h, w, 2): east, north, up; (n, h, w, 3)."""
    southwards, eastwards = np.moveaxis(slope, -1, 0) / _STEEP
    # On a map the rows go south: minus the gradient southwards is the one northwards.
    return unit(np.stack([-eastwards, southwards, np.ones_like(eastwards)], axis=-1))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) at length 1, float32."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6), np.float32)


def annotator(condition: str, stage: Callable[[str], Path], device: str) -> Annotate:
    """What reads a condition back from pictures (n, 32, 32, 3) uint8."""
    if condition == "edge":
        return annotators.canny
    if condition == "sketch":
        return _hed(device)
    from bench.tracks.controlnet.nets import reader

    net = reader.load(stage(READER) / READER_FILE, channels(condition))
    return lambda pictures: finished(condition, reader.read(net, pictures))


def _hed(device: str) -> annotators.Hed:
    from bench.packages import located

    return annotators.Hed(located(annotators.HED, annotators.HED_FILE), device)


def finished(condition: str, read: np.ndarray) -> np.ndarray:
    """What a reader gives (n, h, w, channels) as a condition: one class a pixel, vectors of length 1."""
    if condition == "segmentation":
        return np.asarray(np.eye(read.shape[-1], dtype=np.float32)[read.argmax(-1)])
    return unit(read) if condition == "normal" else read.clip(-1, 1)


# ------------------------------------------------------------------------------------------------ the stages


def draw_sketches(ctx: StageContext) -> None:
    """Write the sketches of all tiles, (n, 32, 32, 1) bool."""
    found = tiles.read(str(ctx.params["set"]), stage=ctx.stage)
    np.save(ctx.outdir / SKETCHES_FILE, _hed(ctx.device)(found.picture) > 0)


def train_reader(ctx: StageContext) -> None:
    """Train the reader of a condition on tiles for training, and make sure that it can read held-out ones.

    Raises:
        BenchError: it cannot (`measures.check_readable`).
    """
    from bench.nn import weights
    from bench.tracks.controlnet.nets import reader

    condition = str(ctx.params["condition"])
    found = tiles.read(str(ctx.params["set"]), stage=ctx.stage)
    wanted, train = maps(condition, found, ctx.stage), found.part == "train"
    net = reader.train(
        found.picture[train], wanted[train], ReaderRecipe(**ctx.params["recipe"]),
        classes=condition == "segmentation",
        report=lambda step, loss: ctx.log.info("reader, step %d: loss %.4f", step, loss),
    )  # fmt: skip
    read = finished(condition, reader.read(net, found.picture[~train]))
    measure = measures.MEASURES[CONDITIONS[condition]]
    measures.check_readable(condition, measure, wanted[~train], read, _SHIFTS)
    ctx.log.info("held-out %s: %.4f", CONDITIONS[condition], measure.values(wanted[~train], read).mean())
    weights.write(ctx.outdir / READER_FILE, net.state_dict())
