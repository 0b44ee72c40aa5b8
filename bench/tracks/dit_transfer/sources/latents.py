"""Latents of pictures, encoded once: the posterior that a VAE gives for each picture and its mirror image.

On disk are the moments of the posterior, not a sample of it, so that training sees a new sample every time,
as if it encoded pictures at every step. A folder holds ``index.json``, ``labels.npy`` and shards
``moments-<number>.npy``, each float16 (n, 2, 2, C, h, w): picture and mirror image, mean and logarithm of the
variance.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.contract import BenchError, digest
from bench.data.anonymous import mapped
from bench.data.images.pictures import View, stream
from bench.data.preparing import Progress, silent

#: An `AutoencoderKL` of diffusers, whose attributes a type checker does not see.
VAE: TypeAlias = Any

INDEX, LABELS = "index.json", "labels.npy"
#: Raise when what is stored, or how, changes.
VERSION = 1


# ------------------------------------------------------------------------------------------------- pictures


def adm_crop(image: Image.Image, size: int) -> np.ndarray:
    """The middle of a picture, as ADM and DiT cut it: (size, size, 3) uint8.

    Halved by averaging while the shorter side has at least twice the pixels wanted, then resized by cubic
    interpolation until that side fits, then cut.

    Source: Dhariwal and Nichol (NeurIPS 2021), the pre-processing of their evaluation.
    """
    image = image.convert("RGB")
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    fitting = (round(image.width * scale), round(image.height * scale))
    pixels = np.asarray(image.resize(fitting, Image.Resampling.BICUBIC))
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


class AdmCrop(View):
    """`adm_crop` for `bench.data.images.pictures`: ``decode(paths, AdmCrop(256))`` is (n, 256, 256, 3)."""

    def __init__(self, size: int) -> None:
        super().__init__(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")

    def cut(self, image: Image.Image, seed: int = 0) -> Image.Image:
        """See `View.cut`; nothing is random."""
        return Image.fromarray(adm_crop(image, self.size))

    def crop(self, images: Tensor) -> Tensor:
        """See `View.crop`."""
        cut = [adm_crop(Image.fromarray(i.permute(1, 2, 0).cpu().numpy()), self.size) for i in images]
        return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).to(images.device)


# ------------------------------------------------------------------------------------------------- the VAE


def load_vae(folder: Path) -> VAE:
    """A VAE out of a folder of diffusers (its own, or a pipeline's above it), frozen, on the CPU.

    Raises:
        BenchError: nothing there, or not the weights of the network that ``config.json`` describes.
    """
    import pickle

    import safetensors
    from diffusers import AutoencoderKL

    if not (folder / "config.json").is_file() and (folder / "vae").is_dir():
        folder = folder / "vae"
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise BenchError(
            f"{path}: expected a folder of diffusers with an AutoencoderKL ({e.strerror})"
        ) from e
    except ValueError as e:
        raise BenchError(f"{path}: not JSON: {e}") from e
    name = config.get("_class_name") if isinstance(config, dict) else type(config).__name__
    if name != "AutoencoderKL":
        raise BenchError(f"{path}: expected an AutoencoderKL, found {name!r}")
    if config.get("shift_factor"):
        raise BenchError(f"{path}: shift_factor is {config['shift_factor']}: the latents of a DiT have none")
    kind: VAE = AutoencoderKL
    try:
        vae, found = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError,
            safetensors.SafetensorError) as e:  # fmt: skip
        why = str(e).strip().partition("\n")[0]
        raise BenchError(f"{folder}: not a readable AutoencoderKL ({type(e).__name__}: {why})") from e
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if wrong := [str(k) for k in found[what]]:
            found_instead = f"{len(wrong)} {what.replace('_', ' ')}, first {wrong[0]}"
            raise BenchError(f"{folder}: weights of another network: {found_instead}")
    return vae.eval().requires_grad_(False)


def moments(vae: VAE, pictures: Tensor) -> Tensor:
    """(n, H, W, 3) uint8 on the VAE's device -> (n, 2, C, h, w) float32: mean, logarithm of the variance."""
    with torch.no_grad():
        x = (pictures.permute(0, 3, 1, 2).float() / 127.5 - 1).to(vae.dtype)
        posterior = vae.encode(x).latent_dist
        return torch.stack((posterior.mean, posterior.logvar), 1).float()


def decode(vae: VAE, latents: Tensor, batch: int = 32) -> np.ndarray:
    """Scaled latents (n, C, h, w) -> pictures (n, H, W, 3) uint8, ``batch`` at a time on the VAE's device."""
    out = []
    with torch.no_grad():
        for i in range(0, len(latents), batch):
            z = latents[i : i + batch].to(vae.device, vae.dtype)
            decoded = vae.decode(z / vae.config.scaling_factor).sample
            pixels = ((decoded.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            out.append(pixels.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


# ------------------------------------------------------------------------------------------------ encoding


def encode(
    paths: Sequence[Path],
    labels: np.ndarray,
    vae: VAE,
    folder: Path,
    *,
    size: int = 256,
    batch: int = 32,
    device: str = "cpu",
    flips: bool = True,
    shard: int = 4096,
    threads: int | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Write the moments of pictures into a folder; shards that are there from a call that ended early stay.

    Memory holds one batch and the pictures that are being decoded ahead, however many there are.

    Args:
        paths: n image files, cut by `adm_crop`.
        labels: (n,) int64.
        vae: from `load_vae`; it is moved to ``device`` and stays there.
        folder: of these latents alone; made if need be.
        size: pixels a side.
        batch: pictures at a time; with ``flips`` the VAE sees twice as many.
        device: where the VAE runs.
        flips: encode the mirror images too.
        shard: pictures a file (with flips 32 kB a picture at 256 pixels).
        threads: decode images at once; torch's own number if None.
        progress: called with the number of pictures encoded so far.

    Returns:
        the shards, in order.

    Raises:
        BenchError: an image cannot be read, the VAE gives no number, or the folder holds other latents.
    """
    if len(paths) != len(labels) or not len(paths):
        raise ValueError(f"{len(paths)} pictures and {len(labels)} labels: expected as many, and some")
    vae.to(device)
    _begin(folder, paths, labels, vae, size, flips, shard)
    files = [folder / _name(i) for i in range(-(-len(paths) // shard))]
    for i, file in enumerate(files):
        if not file.exists():
            own = range(i * shard, min(len(paths), (i + 1) * shard))
            _write_shard(file, [paths[k] for k in own], vae, size, batch, flips, threads)
        progress("latents", min(len(paths), (i + 1) * shard), len(paths))
    return files


def _name(number: int) -> str:
    return f"moments-{number:05d}.npy"


def _begin(
    folder: Path,
    paths: Sequence[Path],
    labels: np.ndarray,
    vae: VAE,
    size: int,
    flips: bool,
    shard: int,
) -> None:
    """Write the index and the labels, or see that those that are there are the same."""
    down = 2 ** (len(vae.config.block_out_channels) - 1)
    if size % down:
        raise BenchError(
            f"size {size}: expected a multiple of {down}, by which this VAE makes pictures smaller"
        )
    top = os.path.commonpath([p.parent for p in paths])  # another machine may have them elsewhere
    index = {
        "version": VERSION,
        "n": len(paths),
        "shard": shard,
        "flips": flips,
        "latent": [vae.config.latent_channels, size // down, size // down],
        "scale": vae.config.scaling_factor,
        "of": digest([[os.path.relpath(p, top) for p in paths], labels.tolist(), size, _digest(vae)]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / INDEX).exists():
        if _read_index(folder) != index:
            raise BenchError(f"{folder}: holds latents of other pictures or of another VAE: remove it")
        return
    with _whole(folder / LABELS) as new:
        np.save(new, labels.astype(np.int64))
    with _whole(folder / INDEX) as new:
        new.write_text(json.dumps(index) + "\n")


def _digest(vae: VAE) -> str:
    found = hashlib.sha256()
    for name, value in vae.state_dict().items():
        found.update(name.encode())
        found.update(value.float().cpu().numpy().tobytes())
    return found.hexdigest()


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Another name to write a file under: it has its own once it is whole."""
    new = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _write_shard(
    file: Path,
    paths: Sequence[Path],
    vae: VAE,
    size: int,
    batch: int,
    flips: bool,
    threads: int | None,
) -> None:
    with _whole(file) as new:
        stored: np.memmap[Any, Any] | None = None
        done = 0
        for found in _encoded(paths, vae, size, batch, flips, threads):
            if not np.isfinite(found).all():
                bad = int(np.flatnonzero(~np.isfinite(found).all(axis=(1, 2, 3, 4, 5)))[0])
                raise BenchError(f"{paths[done + bad]}: the VAE gives latents that are no numbers")
            if stored is None:
                shape = (len(paths), *found.shape[1:])
                stored = np.lib.format.open_memmap(new, mode="w+", dtype=np.float16, shape=shape)
            stored[done : done + len(found)] = found
            done += len(found)
        if stored is not None:
            stored.flush()


def _encoded(
    paths: Sequence[Path], vae: VAE, size: int, batch: int, flips: bool, threads: int | None
) -> Iterator[np.ndarray]:
    """(n, 1 or 2, 2, C, h, w) float16 of batch after batch, while the next images are being decoded."""
    batches = [paths[i : i + batch] for i in range(0, len(paths), batch)]
    for pictures in stream(batches, AdmCrop(size), threads=threads):
        x = torch.from_numpy(pictures).to(vae.device)
        n = len(x)
        both = torch.cat((x, x.flip(2))) if flips else x
        found = moments(vae, both).half().cpu().numpy()
        yield found.reshape(-1, n, *found.shape[1:]).swapaxes(0, 1)


# ------------------------------------------------------------------------------------------------- reading


class Latents:
    """Encoded pictures in a folder that `encode` wrote, read from disk batch by batch.

    ``labels``: (n,) int64. ``shape``: (C, h, w). ``scale``: what latents are multiplied by.

    Raises:
        BenchError: the folder is not one of latents, not finished, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        index = _read_index(folder)
        n, self._shard, self.flips = index["n"], index["shard"], index["flips"]
        self.shape: tuple[int, int, int] = tuple(index["latent"])
        self.scale: float = index["scale"]
        self.labels = _array(folder / LABELS, (n,), np.int64)[:]
        sides, count = 1 + self.flips, -(-n // self._shard)
        if absent := sum(not (folder / _name(i)).is_file() for i in range(count)):
            raise BenchError(f"{folder}: {absent} of {count} shards of latents are missing: encode again")
        self._shards = [
            _array(
                folder / _name(i),
                (min(self._shard, n - i * self._shard), sides, 2, *self.shape),
                np.float16,
            )
            for i in range(count)
        ]

    def __len__(self) -> int:
        return len(self.labels)

    def moments(self, rows: np.ndarray, flipped: np.ndarray) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, each (B, C, h, w) float32, before scaling.

        Args:
            rows: (B,) positions of pictures.
            flipped: (B,) booleans: of the mirror image.
        """
        out = np.empty((len(rows), 2, *self.shape), np.float16)
        side = flipped.astype(np.int64)
        for number in np.unique(rows // self._shard):
            own = np.flatnonzero(rows // self._shard == number)
            out[own] = self._shards[number][rows[own] % self._shard, side[own]]
        mean, logvar = torch.from_numpy(out).float().unbind(1)
        return mean, logvar

    def batch(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """Latents to train on, (B, C, h, w) float32: drawn from the posterior, times the scale.

        Of each picture or its mirror image, with the same chance. All randomness is the generator's, a CPU's:
        first the sides, then the noise.

        Args:
            rows: (B,) positions of pictures.
            generator: of the draws.
        """
        n = len(rows)
        flipped = torch.randint(0, 1 + self.flips, (n,), generator=generator).numpy().astype(bool)
        mean, logvar = self.moments(rows, flipped)
        noise = torch.randn(mean.shape, generator=generator)
        return (mean + (0.5 * logvar).exp() * noise) * self.scale


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        version = index["version"]
        if version == VERSION:
            sizes = [index["n"], index["shard"], *index["latent"]]
            if len(sizes) != 5 or any(type(s) is not int or s < 1 for s in sizes):
                raise ValueError(f"sizes {sizes}")
            if type(index["flips"]) is not bool or not isinstance(index["scale"], float) or not index["of"]:
                raise ValueError("flips, scale or of")
    except OSError as e:
        raise BenchError(f"{path}: cannot be read ({e.strerror}): expected a folder of latents") from e
    except (ValueError, KeyError, TypeError) as e:
        raise BenchError(f"{path}: not the index of a folder of latents: {e!r}") from e
    if version != VERSION:
        raise BenchError(f"{path}: latents of version {version}, today's are {VERSION}: encode again")
    return dict(index)


def _array(path: Path, shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
    """A file of numpy, mapped into memory."""
    try:
        found = mapped(path, "r")
    except (OSError, ValueError, EOFError) as e:
        raise BenchError(f"{path}: cannot be read: {e}") from e
    if found.shape != shape or found.dtype != kind:
        raise BenchError(f"{path}: {found.dtype} {found.shape}, expected {np.dtype(kind)} {shape}")
    return found
