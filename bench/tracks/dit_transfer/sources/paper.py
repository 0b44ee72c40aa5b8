"""The paper's eight targets: photographs and works of art from files, as latents, for DiT-XL/2.

The network, the VAE and the Inception network of FID are files and folders that the user provides. The
training pictures of a target are encoded once, its held-out pictures never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import packages
from bench.contract import BenchError, Inputs, Needs, Stage, StageContext, Task, digest
from bench.data.catalog import VARIABLE, root
from bench.data.images import image_sets
from bench.file_digest import content
from bench.tracks.common.subsets import thinned
from bench.tracks.dit_transfer.nets import inception as fid
from bench.tracks.dit_transfer.settings import Run, recipe
from bench.tracks.dit_transfer.sources.names import BANK, BANK_FILE, INCEPTION

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tracks.dit_transfer.data import SampledLatents, TargetData
    from bench.tracks.dit_transfer.nets.dit import DiT

#: Pixels a side.
SIZE = 256
LATENTS = "dit-latents"
#: Of the stage that computes features of real pictures. A GPU, as for every stage here: a shard of the bank,
#: 1,000 pictures in 100 passes of DiT-XL/2, are days of a processor. The processors decode image files.
NEEDS = Needs(cpu=4, gpu=1, mem_gb=16, minutes=240)
#: Shards of the bank: in each the network samples a part of the pictures.
SHARDS = 10
#: At most so many pictures of a split have Lite0 features, the same ones for all rows: as many as a network
#: samples. The kernel distance compares all pairs. FID is of all held-out pictures.
COMPARED = 10_000
#: Image files that are decoded at a time.
_BATCH = 64


def missing(task: Task, run: Run) -> str | None:
    """Which data set, network or package has to be provided, or None. Cheap."""
    if why := image_sets.publisher_set(_target(task)).missing():
        return why
    network, vae = root() / run.weights, root() / run.vae
    if not network.exists():
        return (
            f"DiT-XL/2: no {network.name} in {network.parent} (${VARIABLE}/{run.weights}):"
            " bring DiT-XL-2-256x256.pt from dl.fbaipublicfiles.com, where facebookresearch/DiT gets it"
            " (CC BY-NC), or its folder of diffusers"
        )
    if not any((folder / "config.json").is_file() for folder in (vae, vae / "vae")):
        return (
            f"VAE: no config.json in {vae} (${VARIABLE}/{run.vae}): bring the folder of"
            " stabilityai/sd-vae-ft-ema, config.json and diffusion_pytorch_model.safetensors"
        )
    return packages.LITE0.missing("KID-lite0", "paper") or fid.missing(inception(run))


def groups(task: Task, run: Run, stage: Callable[[str], Path]) -> None:
    """Each held-out picture stands alone."""


def inception(run: Run) -> Path:
    """The file of the weights of FID's network."""
    return root() / run.inception


def fingerprint(task: Task, run: Run) -> str:
    """Digest of the list of images and of what the networks' files hold."""
    networks = [content(root() / p) for p in (run.weights, run.vae, run.inception)]
    return digest([image_sets.publisher_set(_target(task)).fingerprint(), networks])


def _target(task: Task) -> str:
    return str(task.params["target"])


def target_data(task: Task, run: Run, inputs: Inputs) -> TargetData:
    """See `TransferSource.target_data`; the training pictures are latents on disk."""
    from bench.tracks.dit_transfer.data import TargetData
    from bench.tracks.dit_transfer.sources.latents import Latents

    x, classes = Latents(inputs.stage(LATENTS)), image_sets.publisher_set(_target(task)).read().classes
    return TargetData(
        classes=classes, x=x, y=x.labels, pretrained=partial(_pretrained, run, len(classes), x.shape),
        bank=bank, decode=partial(_decoded, run, inputs.device),
    )  # fmt: skip


def _pretrained(run: Run, classes: int, shape: tuple[int, int, int]) -> DiT:
    """The network with a label table for so many classes of a target."""
    model = _network(root() / run.weights)
    if model.shape != shape:
        raise BenchError(
            f"{root() / run.weights}: a network of latents {model.shape}, but those of the VAE {run.vae} are"
            f" {shape}"
        )
    # All classes start as the null label, and the table has one row more than there are classes, as DiffFit's
    # has. The released code of Diff-Tuning keeps ImageNet's table: class k of a target starts as class k of
    # ImageNet, whatever that is.
    model.relabel(classes, start="null")
    return model


def _network(path: Path) -> DiT:
    from bench.tracks.dit_transfer.nets import dit

    return dit.load(path, dit.DIT_XL_2)


def _decoded(run: Run, device: str, x: Tensor) -> np.ndarray:
    from bench.tracks.dit_transfer.sources import latents

    return latents.decode(_vae(root() / run.vae, device), x)


@lru_cache(maxsize=1)
def _vae(folder: Path, device: str) -> Any:
    """The VAE, loaded once a process, when the first picture is decoded."""
    from bench.tracks.dit_transfer.sources import latents

    return latents.load_vae(folder).to(device)


# ----------------------------------------------------------------------------------------- real pictures


def real_pictures(task: Task, run: Run, stage: Callable[[str], Path]) -> dict[str, Iterable[np.ndarray]]:
    """Held-out and training pictures, at most `COMPARED` of each, and for FID all held-out ones.

    None is of the pre-training, which is ImageNet. A batch is decoded when the one before has been used:
    25,000 pictures are 5 GB.
    """
    test, train = (_files(_target(task), part, run)[0] for part in ("test", "train"))
    return {
        "test": _pictures(_compared(test)),
        "train": _pictures(_compared(train)),
        INCEPTION: _pictures(test),
    }


def _files(target: str, part: str, run: Run) -> tuple[list[Path], np.ndarray]:
    """Files and labels (n,) of a part, at most ``run.pictures``."""
    images = image_sets.publisher_set(target).read().only(part)
    rows = thinned(np.arange(len(images.files)), run.pictures)
    return images.paths(rows), images.labels[rows]


def _compared(files: Sequence[Path]) -> list[Path]:
    chosen = np.random.default_rng(0).permutation(len(files))[:COMPARED]
    return [files[i] for i in np.sort(chosen)]


def _pictures(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """The pictures in batches of (n, SIZE, SIZE, 3) uint8."""
    from bench.data.images.pictures import stream
    from bench.tracks.dit_transfer.sources.latents import AdmCrop

    return stream((files[i : i + _BATCH] for i in range(0, len(files), _BATCH)), AdmCrop(SIZE))


# ------------------------------------------------------------------------------------------------ stages


def stages(task: Task, run: Run) -> Sequence[Stage]:
    """The stage that encodes a target's training pictures and their mirror images."""
    here, target = missing(task, run) is None, _target(task)
    params = {
        "target": target, "pictures": run.pictures, "size": SIZE, "vae": run.vae,
        "of": [image_sets.publisher_set(target).fingerprint(), content(root() / run.vae)] if here else None,
    }  # fmt: skip
    needs = Needs(cpu=4, gpu=1, mem_gb=16, minutes=480)
    return (Stage(name=LATENTS, build=encode, params=params, needs=needs),)


def encode(ctx: StageContext) -> None:
    """Write a folder of `latents.Latents`."""
    from bench.tracks.dit_transfer.sources import latents

    p = ctx.params
    files, labels = _files(p["target"], "train", Run(pictures=p["pictures"]))
    latents.encode(
        files, labels, latents.load_vae(root() / p["vae"]), ctx.outdir, size=p["size"], device=ctx.device,
        progress=lambda what, done, n: ctx.log.info("%s: %d of %d pictures", what, done, n),
    )  # fmt: skip


def bank_stages(task: Task, run: Run) -> Sequence[Stage]:
    """One bank serves all targets: its pictures are those of the pre-training."""
    r, path = recipe(_target(task), run), root() / run.weights
    params = {
        "n": r.bank, "chain": r.chain, "guidance": r.guidance, "weights": run.weights,
        "of": content(path) if path.exists() else None,
    }  # fmt: skip
    needs = Needs(gpu=1, mem_gb=16, minutes=120)
    return (Stage(name=BANK, build=draw_bank, params=params, needs=needs, shards=SHARDS),)


def draw_bank(ctx: StageContext) -> None:
    """Write a shard's latents (n, C, h, w) float16, of classes of ImageNet drawn with equal chances.

    They stay latents: a training step takes them as they are, where the released code reads pictures and
    encodes them again, mirrored or not.
    """
    import torch

    from bench.tracks.dit_transfer import training

    p, model = ctx.params, _network(root() / ctx.params["weights"]).to(ctx.device)
    generator = training.generator(0, ctx.shard)
    n = len(range(ctx.shard, p["n"], SHARDS))
    labels = torch.randint(model.null, (n,), generator=generator).numpy()
    x = training.sampled(model, model, labels, generator, chain=p["chain"], guidance=p["guidance"])
    np.save(ctx.outdir / BANK_FILE, x.half().numpy())


def bank(folder: Path) -> SampledLatents:
    """The latents in the folder of a bank's stage, which has a folder for each shard."""
    from bench.tracks.dit_transfer.data import SampledLatents

    shards = [np.load(folder / str(i) / BANK_FILE) for i in range(SHARDS)]
    return SampledLatents(np.concatenate(shards))
