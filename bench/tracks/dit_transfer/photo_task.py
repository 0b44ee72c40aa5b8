"""The paper's eight targets: photographs and works of art from files, as latents, for DiT-XL/2.

The network, the VAE and the Inception network of FID are files and folders that have to be brought. The
training part of a target is encoded once; nothing that is held out is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import packages
from bench.contract import BenchError, Inputs, Needs, Stage, StageContext, digest
from bench.data.catalog import VARIABLE, root
from bench.data.images import image_sets
from bench.file_digest import content
from bench.tracks.dit_transfer import inception as fid
from bench.tracks.dit_transfer import stages
from bench.tracks.dit_transfer.settings import Run, recipe

if TYPE_CHECKING:
    from torch import Tensor

    from bench.nn.dit import DiT
    from bench.tracks.dit_transfer.data import Drawn, Parts

#: Pixels a side.
SIZE = 256
LATENTS = "dit-latents"
#: Of the features of real pictures. A GPU, as for every stage here: a shard of the bank, 1,000 pictures in
#: 100 passes of DiT-XL/2, are days of a processor. The processors decode image files.
NEEDS = Needs(cpu=4, gpu=1, mem_gb=16, minutes=240)
#: Of the bank: each draws its own part of the pictures.
SHARDS = 10
#: Most pictures of a part whose Lite0 features are kept, drawn once for all rows: as many as are drawn of a
#: network. The kernel distance compares all pairs. FID is of all held-out pictures.
COMPARED = 10_000
#: Image files that are decoded at a time.
_AT_ONCE = 64


def missing(target: str, run: Run) -> str | None:
    """Which data set, network or package has to be brought, or None. Cheap."""
    if why := image_sets.publisher_set(target).missing():
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


def inception(run: Run) -> Path:
    """The file of the weights of FID's network."""
    return root() / run.inception


def fingerprint(target: str, run: Run) -> str:
    """Digest of the list of images and of what the networks' files hold."""
    networks = [content(root() / p) for p in (run.weights, run.vae, run.inception)]
    return digest([image_sets.publisher_set(target).fingerprint(), networks])


def parts(target: str, run: Run, inputs: Inputs) -> Parts:
    """The target's training pictures as latents on disk; milliseconds."""
    from bench.tracks.dit_transfer.data import Parts
    from bench.tracks.dit_transfer.latents import Latents

    x, classes = Latents(inputs.stage(LATENTS)), image_sets.publisher_set(target).read().classes
    return Parts(
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
    from bench.nn import dit

    return dit.load(path, dit.DIT_XL_2)


def _decoded(run: Run, device: str, x: Tensor) -> np.ndarray:
    from bench.tracks.dit_transfer import latents

    return latents.decode(_vae(root() / run.vae, device), x)


@lru_cache(maxsize=1)
def _vae(folder: Path, device: str) -> Any:
    """The VAE, loaded once a process, when the first picture is decoded."""
    from bench.tracks.dit_transfer import latents

    return latents.load_vae(folder).to(device)


# ----------------------------------------------------------------------------------------- real pictures


def real(target: str, run: Run, stage: Callable[[str], Path]) -> dict[str, Iterable[np.ndarray]]:
    """Pictures whose features the scorer keeps: held-out and training ones, at most `COMPARED`; for FID all
    held-out ones. None of the pre-training, which is ImageNet.

    Decoded as they are asked for: 25,000 of them are 5 GB.
    """
    test, train = (_files(target, part, run)[0] for part in ("test", "train"))
    return {
        "test": _pictures(_compared(test)),
        "train": _pictures(_compared(train)),
        stages.INCEPTION: _pictures(test),
    }


def _files(target: str, part: str, run: Run) -> tuple[list[Path], np.ndarray]:
    """Files and labels (n,) of a part, at most ``run.pictures``."""
    images = image_sets.publisher_set(target).read().only(part)
    rows = stages.thinned(np.arange(len(images.files)), run.pictures)
    return images.paths(rows), images.labels[rows]


def _compared(files: Sequence[Path]) -> list[Path]:
    some = np.random.default_rng(0).permutation(len(files))[:COMPARED]
    return [files[i] for i in np.sort(some)]


def _pictures(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """(n, SIZE, SIZE, 3) uint8 of batch after batch."""
    from bench.data.images.pictures import stream
    from bench.tracks.dit_transfer.latents import AdmCrop

    return stream((files[i : i + _AT_ONCE] for i in range(0, len(files), _AT_ONCE)), AdmCrop(SIZE))


# ------------------------------------------------------------------------------------------------ stages


def data_stages(target: str, run: Run) -> Sequence[Stage]:
    """The encoding of a target's training pictures and their mirror images."""
    here = missing(target, run) is None
    params = {
        "target": target, "pictures": run.pictures, "size": SIZE, "vae": run.vae,
        "of": [image_sets.publisher_set(target).fingerprint(), content(root() / run.vae)] if here else None,
    }  # fmt: skip
    needs = Needs(cpu=4, gpu=1, mem_gb=16, minutes=480)
    return (Stage(name=LATENTS, build=encode, params=params, needs=needs),)


def encode(ctx: StageContext) -> None:
    """Write a folder of `latents.Latents`."""
    from bench.tracks.dit_transfer import latents

    p = ctx.params
    files, labels = _files(p["target"], "train", Run(pictures=p["pictures"]))
    latents.encode(
        files, labels, latents.load_vae(root() / p["vae"]), ctx.outdir, size=p["size"], device=ctx.device,
        progress=lambda what, done, n: ctx.log.info("%s: %d of %d pictures", what, done, n),
    )  # fmt: skip


def bank_stages(target: str, run: Run) -> Sequence[Stage]:
    """One bank for all targets: it is the source's."""
    r, path = recipe(target, run), root() / run.weights
    params = {
        "n": r.bank, "chain": r.chain, "guidance": r.guidance, "weights": run.weights,
        "of": content(path) if path.exists() else None,
    }  # fmt: skip
    needs = Needs(gpu=1, mem_gb=16, minutes=120)
    return (Stage(name=stages.BANK, build=draw_bank, params=params, needs=needs, shards=SHARDS),)


def draw_bank(ctx: StageContext) -> None:
    """Write a shard's latents (n, C, h, w) float16, of classes of ImageNet drawn alike.

    They stay latents: a step takes them as they are, where the released code reads pictures and encodes them
    again, mirrored or not.
    """
    import torch

    from bench.tracks.dit_transfer import training

    p, model = ctx.params, _network(root() / ctx.params["weights"]).to(ctx.device)
    draw = training.generator(0, ctx.shard)
    n = len(range(ctx.shard, p["n"], SHARDS))
    labels = torch.randint(model.null, (n,), generator=draw).numpy()
    x = training.drawn(model, model, labels, draw, chain=p["chain"], guidance=p["guidance"])
    np.save(ctx.outdir / stages.BANK_FILE, x.half().numpy())


def bank(folder: Path) -> Drawn:
    """The bank out of the folders of its shards."""
    from bench.tracks.dit_transfer.data import Drawn

    shards = [np.load(folder / str(i) / stages.BANK_FILE) for i in range(SHARDS)]
    return Drawn(np.concatenate(shards))
