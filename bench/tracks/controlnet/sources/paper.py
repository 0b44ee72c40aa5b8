"""The paper's six tasks: photographs of 512 pixels a side, for Stable Diffusion with prompts.

Networks, annotators and photographs are folders that the user provides. Conditions and latents are made once.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import packages
from bench.contract import BenchError, Inputs, Needs, Stage, StageContext, Task, digest
from bench.data.catalog import VARIABLE, root
from bench.file_digest import content
from bench.tracks.common.subsets import thinned
from bench.tracks.controlnet import measures
from bench.tracks.controlnet.nets import annotators
from bench.tracks.controlnet.settings import CONDITIONS, PAPER, Run, recipe, snapshots_of
from bench.tracks.controlnet.sources import photographs
from bench.tracks.controlnet.sources.names import BANK, BANK_FILE
from bench.tracks.controlnet.sources.paper_files import ANNOTATORS, PARTS
from bench.tracks.controlnet.sources.photographs import DEFAULT_PROMPT

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from bench.tracks.controlnet.data import Annotate, Base, ControlData, Examples, Truth

#: The stages of training pictures as latents with their conditions, and of held-out ones as they are.
PREPARED, HELD_OUT = "controlnet-prepared", "controlnet-held-out"
_MAPS_FILE, _LATENTS_FILE, _PICTURES_FILE, _FEATURES_FILE = "maps.zip", "latents.npy", "pictures.npy", "f.npy"
#: Shards of the stages of training pictures and of the bank, and pictures at a time in them.
SHARDS, _BATCH = 10, 8
_FEATURE_SIDE = 224
_NEEDS = Needs(cpu=4, gpu=1, mem_gb=32, minutes=720)
#: Run settings that name folders, and which networks' content is part of a task's identity.
_FOLDERS = ("diffusion", "annotators", "coco", "ade20k")


def _names(task: Task) -> tuple[str, str]:
    """The condition and the set of photographs of a task."""
    return PAPER[task.name]


def missing(task: Task, run: Run) -> str | None:
    """Which folder, file or package has to be provided, or None. Cheap."""
    condition, pictures = _names(task)
    if why := photographs.missing(pictures, root() / getattr(run, pictures)):
        return f"{why} (${VARIABLE}/{getattr(run, pictures)})"
    folder = root() / run.diffusion
    for part, file in PARTS.items():
        if not (folder / part / file).is_file():
            return (
                f"Stable Diffusion: no {part}/{file} in {folder} (${VARIABLE}/{run.diffusion}): bring the"
                " folder of diffusers, such as stable-diffusion-v1-5 (CreativeML Open RAIL-M)"
            )
    weights = ANNOTATORS.get(condition)
    if weights is not None and not (root() / run.annotators / weights).is_file():
        return (
            f"{condition}: no {weights} in {root() / run.annotators} (${VARIABLE}/{run.annotators}): bring"
            " ControlNetHED.pth of lllyasviel/Annotators, Intel/dpt-hybrid-midas as midas and"
            " openmmlab/upernet-convnext-small as upernet"
        )
    if condition == "edge" and (why := annotators.missing("edge")):
        return why
    return packages.LITE0.missing("KID-lite0", "paper")


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the photographs' names, and of what the files of the networks hold."""
    condition, pictures = _names(task)
    of = photographs.fingerprint(pictures, root() / getattr(run, pictures))
    networks = [content(path) for path in _networks(condition, run)]
    return digest([of, networks, run.size, dict(annotators.versions(condition))])


def _networks(condition: str, run: Run) -> list[Path]:
    file = ANNOTATORS.get(condition)
    of_condition = [] if file is None else [root() / run.annotators / file.partition("/")[0]]
    return [root() / run.diffusion, *of_condition]


def _params(task: Task, run: Run) -> dict[str, Any]:
    """What the stages of a task are made of: names, folders, and the identity of what is in them."""
    condition, pictures = _names(task)
    here = missing(task, run) is None
    return {
        "condition": condition, "photographs": pictures, "size": run.size, "pictures": run.pictures,
        "folders": {name: getattr(run, name) for name in _FOLDERS},
        "of": fingerprint(task, run) if here else None,
    }  # fmt: skip


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """Training pictures as latents with their conditions, and held-out pictures with theirs."""
    params, r = _params(task, run), recipe(task.name, run)
    return (
        Stage(name=PREPARED, build=prepare, params=params, needs=_NEEDS, shards=SHARDS),
        Stage(
            name=HELD_OUT, build=hold_out, params={**params, "n": r.samples, "looks": r.tiles},
            needs=_NEEDS,
        ),
    )  # fmt: skip


def _folder(params: Mapping[str, Any], name: str) -> Path:
    return root() / str(params["folders"][name])


def _photographs(params: Mapping[str, Any], part: str) -> photographs.Photographs:
    """A part of a set, at most ``pictures`` of it."""
    name = params["photographs"]
    found = photographs.read(name, _folder(params, name), part)
    rows = thinned(np.arange(len(found)), params["pictures"]).tolist()
    return photographs.Photographs(tuple(found.files[i] for i in rows), tuple(found.prompts[i] for i in rows))


def prepare(ctx: StageContext) -> None:
    """Write a shard's latents, (n, C, h, w) float16, and conditions, PNG files in one archive."""
    from bench.tracks.controlnet.nets import paper_annotators, stable

    p = ctx.params
    files = _photographs(p, "train").files[ctx.shard :: SHARDS]
    vae = stable.Autoencoder(_folder(p, "diffusion"), ctx.device)
    read = paper_annotators.annotator(p["condition"], _folder(p, "annotators"), ctx.device)
    latents = []
    with zipfile.ZipFile(ctx.outdir / _MAPS_FILE, "w") as archive:
        for first in range(0, len(files), _BATCH):
            pictures = photographs.cropped(files[first : first + _BATCH], p["size"])
            latents.append(vae.encode(pictures).half().numpy())
            _add(archive, read(pictures), first)
            ctx.log.info("%d of %d photographs", min(first + _BATCH, len(files)), len(files))
    np.save(ctx.outdir / _LATENTS_FILE, np.concatenate(latents) if latents else np.empty((0, 4, 1, 1)))


def hold_out(ctx: StageContext) -> None:
    """Write held-out photographs with their conditions and features, those that are looked at first.

    Raises:
        BenchError: the condition cannot be read back (`measures.check_readable`).
    """
    from bench.tracks.controlnet import scoring
    from bench.tracks.controlnet.nets import paper_annotators

    p = ctx.params
    every = _photographs(p, "test").files
    chosen = np.random.default_rng(0).permutation(len(every))[: p["n"]].tolist()
    pictures = photographs.cropped([every[i] for i in chosen], p["size"])
    read = paper_annotators.annotator(p["condition"], _folder(p, "annotators"), ctx.device)(pictures)
    with zipfile.ZipFile(ctx.outdir / _MAPS_FILE, "w") as archive:
        _add(archive, read, 0)
    looked = as_condition(p["condition"], read[: p["looks"]])
    measures.check_readable(p["condition"], measures.MEASURES[CONDITIONS[p["condition"]]], looked, looked, 8)
    np.save(ctx.outdir / _PICTURES_FILE, pictures)
    np.save(ctx.outdir / _FEATURES_FILE, scoring.lite0(_FEATURE_SIDE, ctx.device)(pictures))


def _add(archive: zipfile.ZipFile, maps: np.ndarray, first: int) -> None:
    from PIL import Image

    for k, one in enumerate(maps, first):
        buffer = io.BytesIO()
        Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one).save(buffer, "PNG")
        archive.writestr(f"{k}.png", buffer.getvalue())


def _maps(archive: zipfile.ZipFile, rows: Sequence[int]) -> np.ndarray:
    """Conditions (n, H, W, 1 or 3) uint8 of an archive that `_add` wrote.

    Raises:
        BenchError: a picture has no condition, or they are of several sizes.
    """
    from PIL import Image

    found, file = [], archive.filename
    for k in rows:
        try:
            with Image.open(io.BytesIO(archive.read(f"{k}.png"))) as opened:
                found.append(np.asarray(opened))
        except KeyError as e:
            raise BenchError(f"{file}: picture {k} has no condition: remove the stage's folder") from e
    if len({one.shape for one in found}) != 1:
        raise BenchError(f"{file}: conditions of several sizes: {sorted({one.shape for one in found})}")
    whole = np.stack(found)
    return whole if whole.ndim == 4 else whole[..., None]


def as_condition(condition: str, read: np.ndarray) -> np.ndarray:
    """What an annotator gives, uint8, as float32: normals from -1 to 1, all others from 0 to 1."""
    scaled = read.astype(np.float32)
    return scaled / 127.5 - 1 if condition == "normal" else scaled / 255


def channels(condition: str) -> int:
    """How many channels a condition's maps have: normals three, and classes are colours."""
    return 3 if condition in ("normal", "segmentation") else 1


# ------------------------------------------------------------------------------------ what methods are given


class Prepared:
    """Training pictures as latents, with conditions and a prompt of each picture, drawn at random."""

    def __init__(
        self, folders: Sequence[Path], condition: str, prompts: Sequence[tuple[str, ...]], encode: Any
    ) -> None:
        self._condition, self._prompts, self._encode = condition, prompts, encode
        # Open for good: to read what is in an archive of 12,000 files takes longer than to read one of them.
        self._archives = [zipfile.ZipFile(f / _MAPS_FILE) for f in folders]
        self._latents = [np.load(f / _LATENTS_FILE, mmap_mode="r") for f in folders]
        if (n := sum(map(len, self._latents))) != len(prompts):
            raise BenchError(
                f"{folders[0].parent}: {n} pictures are prepared, expected {len(prompts)}: remove the stage"
            )

    def __len__(self) -> int:
        return len(self._prompts)

    def batch(self, rows: np.ndarray, generator: Generator) -> Examples:
        """See `Pictures.batch`: one of a picture's captions at random."""
        import torch

        from bench.tracks.controlnet.data import Examples

        n = len(self._archives)
        at = [(int(row) % n, int(row) // n) for row in rows]
        latents = np.stack([self._latents[shard][k] for shard, k in at]).astype(np.float32)
        maps = np.concatenate([_maps(self._archives[shard], [k]) for shard, k in at])
        draws = torch.rand(len(rows), generator=generator).tolist()
        texts = [self._prompts[int(row)] for row in rows]
        prompts = [t[int(u * len(t))] for t, u in zip(texts, draws, strict=True)]
        conditions = torch.from_numpy(as_condition(self._condition, maps)).movedim(-1, 1)
        return Examples(torch.from_numpy(latents), conditions, self._encode(tuple(prompts)))


def control_data(task: Task, run: Run, inputs: Inputs) -> ControlData:
    """See `ControlSource.control_data`."""
    from bench.tracks.controlnet.data import ControlData

    condition, _ = _names(task)
    r, of = recipe(task.name, run), base(root() / run.diffusion, run.size, inputs.device)
    prompts = _photographs(_params(task, run), "train").prompts
    folders = [inputs.stage(PREPARED) / str(k) for k in range(SHARDS)]
    return ControlData(
        condition=condition, channels=channels(condition), base=of, recipe=r,
        pictures=Prepared(folders, condition, prompts, of.encode),
        bank=partial(bank, condition, of), snapshots=snapshots_of(r, run),
    )  # fmt: skip


def base(folder: Path, size: int, device: str) -> Base:
    """Stable Diffusion, for pictures of ``size`` pixels a side."""
    from bench.nn.diffusion import Diffusion
    from bench.tracks.controlnet.data import Base
    from bench.tracks.controlnet.nets import stable

    net = stable.unet(folder)
    shape = (int(net.config.in_channels), size // 8, size // 8)
    return Base(
        unet=partial(stable.unet, folder), diffusion=Diffusion(stable.schedule(folder)), shape=shape,
        pixels=False, encode=partial(_encoded, folder, device), decode=partial(_decoded, folder, device),
        prompt=DEFAULT_PROMPT,
    )  # fmt: skip


def _encoded(folder: Path, device: str, prompts: tuple[str, ...]) -> Tensor:
    from bench.tracks.controlnet.nets import stable

    out: Tensor = _once(stable.Texts, folder, device)(prompts)
    return out


def _decoded(folder: Path, device: str, x: Tensor) -> np.ndarray:
    from bench.tracks.controlnet.nets import stable

    pictures: np.ndarray = _once(stable.Autoencoder, folder, device).decode(x)
    return pictures


@lru_cache(maxsize=4)
def _once(kind: Any, folder: Path, device: str) -> Any:
    """A network of a pipeline, loaded once a process, when it is first needed."""
    return kind(folder, device)


def truth(task: Task, run: Run, inputs: Inputs) -> Truth:
    """See `ControlSource.truth`.

    Raises:
        BenchError: snapshots are to look at pictures for validation, of which there are none.
    """
    from bench.tracks.controlnet.data import Controls, Truth

    if run.looks_at != "test":
        raise BenchError(
            f"controlnet: run.looks_at is {run.looks_at!r}, but {task.name} has test pictures alone"
        )
    condition, folder = _names(task)[0], inputs.stage(HELD_OUT)
    r, pictures = recipe(task.name, run), np.load(folder / _PICTURES_FILE)
    every = _photographs(_params(task, run), "test").prompts
    chosen = np.random.default_rng(0).permutation(len(every))[: r.samples].tolist()
    with zipfile.ZipFile(folder / _MAPS_FILE) as archive:
        read = as_condition(condition, _maps(archive, range(len(pictures))))
    return Truth(
        condition=condition, real=pictures, asked=Controls(read, tuple(every[i][0] for i in chosen)),
        reread=read[: r.tiles], annotate=_annotate(condition, root() / run.annotators, inputs.device),
        features=np.load(folder / _FEATURES_FILE), size=_FEATURE_SIDE, recipe=r,
        snapshots=snapshots_of(r, run), threshold=run.threshold, device=inputs.device,
    )  # fmt: skip


def _annotate(condition: str, folder: Path, device: str) -> Annotate:
    from bench.tracks.controlnet.nets import paper_annotators

    read = paper_annotators.annotator(condition, folder, device)
    return lambda pictures: as_condition(condition, read(pictures))


# -------------------------------------------------------------------------------------------------- the bank


def bank_stages(task: Task, run: Run) -> Sequence[Stage]:
    """Pictures that Stable Diffusion samples with the default prompt, with the condition of the task."""
    r = recipe(task.name, run)
    params = {
        **_params(task, run), "photographs": None, "pictures": None, "n": r.bank, "chain": r.chain,
        "task": task.name,
    }  # fmt: skip
    return (Stage(name=BANK, build=draw_bank, params=params, needs=_NEEDS, shards=SHARDS),)


def draw_bank(ctx: StageContext) -> None:
    """Write a shard's latents, (n, C, h, w) float16, and what is read from their pictures, uint8."""
    from bench.tracks.controlnet import training
    from bench.tracks.controlnet.nets import paper_annotators

    p = ctx.params
    of = base(_folder(p, "diffusion"), p["size"], ctx.device)
    read = paper_annotators.annotator(p["condition"], _folder(p, "annotators"), ctx.device)
    n = len(range(ctx.shard, p["n"], SHARDS))
    how = recipe(p["task"], Run(chain=p["chain"]))
    latents, maps = [], []
    for x in training.unconditional(of, n, ctx.shard, how, ctx.device, _BATCH):
        latents.append(x.half().numpy())
        maps.append(read(np.rint((of.decode(x) + 1) * 127.5).astype(np.uint8)))
    np.savez_compressed(ctx.outdir / BANK_FILE, latents=np.concatenate(latents), maps=np.concatenate(maps))


class Bank:
    """Latents that the base sampled, each with the condition that is read from its picture."""

    def __init__(self, latents: np.ndarray, maps: np.ndarray, condition: str, of: Base) -> None:
        self._latents, self._maps, self._condition, self._base = latents, maps, condition, of

    def __len__(self) -> int:
        return len(self._latents)

    def batch(self, rows: np.ndarray, generator: Generator) -> Examples:
        """See `Pictures.batch`: all with the default prompt."""
        import torch

        from bench.tracks.controlnet.data import Examples

        maps = torch.from_numpy(as_condition(self._condition, self._maps[rows])).movedim(-1, 1)
        x = torch.from_numpy(self._latents[rows].astype(np.float32))
        return Examples(x, maps, self._base.encode((self._base.prompt,) * len(rows)))


def bank(condition: str, of: Base, folder: Path) -> Bank:
    """The latents in the folder of a bank's stage, which has a folder for each shard."""
    found = []
    for k in range(SHARDS):
        with np.load(folder / str(k) / BANK_FILE) as arrays:
            found.append(dict(arrays))
    latents, maps = (np.concatenate([f[key] for f in found]) for key in ("latents", "maps"))
    return Bank(latents, maps, condition, of)
