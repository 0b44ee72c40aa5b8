"""Image files to arrays: decoded by threads, cut to one size for evaluation or for training.

Imports torch and torchvision: import it where pixels are needed, never for a list of files. An image is cut
by Pillow, as torchvision does with an opened file, so that pixels are those of the papers' code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from bench.contract import BenchError

#: Width over height of a training crop lies between 3:4 and 4:3 (torchvision's default).
_LOG_RATIO = tuple(torch.tensor((3 / 4, 4 / 3)).log().tolist())
_TRIES = 10


class View(nn.Module, ABC):
    """How an image becomes ``size`` x ``size`` pixels, and those pixels the input of a network.

    Args:
        size: pixels a side.
        mean, std: of the three channels, on the scale 0 to 1, as the network was trained with.
        interpolation: bilinear (antialiased) as in the released code of CLIPood, or bicubic as in CLIP's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, size: int, mean: Sequence[float], std: Sequence[float], interpolation: str = "bilinear"
    ) -> None:
        super().__init__()
        self.size, self.interpolation = size, InterpolationMode(interpolation)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @abstractmethod
    def cut(self, image: Image.Image, seed: int) -> Image.Image:
        """Cut ``size`` x ``size`` pixels out of an opened image; ``seed`` determines what is random."""

    @abstractmethod
    def crop(self, images: Tensor) -> Tensor:
        """The same for a batch, uint8 (n, 3, height, width); its randomness is torch's global generator."""

    def forward(self, images: Tensor) -> Tensor:
        """Images uint8 (n, height, width, 3) as normalised float (n, 3, size, size), on the same device."""
        pixels = self.crop(images.permute(0, 3, 1, 2))
        return (pixels.float() / 255 - self.mean) / self.std


class Evaluation(View):
    """The shorter side is scaled to ``size``, then the middle is cut out: nothing is random."""

    def cut(self, image: Image.Image, seed: int = 0) -> Image.Image:
        """See `View.cut`."""
        small = F.resize(image, [self.size], self.interpolation)
        out: Image.Image = F.center_crop(small, [self.size, self.size])
        return out

    def crop(self, images: Tensor) -> Tensor:
        """See `View.crop`."""
        small = F.resize(images, [self.size], self.interpolation)
        out: Tensor = F.center_crop(small, [self.size, self.size])
        return out


class Training(View):
    """A random crop of a share of the area, scaled to ``size``, and mirrored in half of the cases.

    Every image has its own crop. ``scale``, the range of the share, is .7 to 1 in the released code of
    CLIPood (and of DomainBed).
    """

    def __init__(
        self,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bilinear",
        scale: tuple[float, float] = (0.7, 1.0),
    ) -> None:
        super().__init__(size, mean, std, interpolation)
        self.scale = scale

    def cut(self, image: Image.Image, seed: int) -> Image.Image:
        """See `View.cut`."""
        random = torch.Generator().manual_seed(seed)
        box = crop_box(image.height, image.width, self.scale, random)
        out: Image.Image = F.resized_crop(image, *box, [self.size, self.size], self.interpolation)
        if _heads(random):
            out = F.horizontal_flip(out)
        return out

    def crop(self, images: Tensor) -> Tensor:
        """See `View.crop`."""
        height, width = images.shape[-2:]
        out = []
        for image in images:
            box = crop_box(height, width, self.scale, torch.default_generator)
            one = F.resized_crop(image, *box, [self.size, self.size], self.interpolation)
            out.append(F.horizontal_flip(one) if _heads(torch.default_generator) else one)
        return torch.stack(out)


def _heads(random: torch.Generator) -> bool:
    return float(torch.rand(1, generator=random)) < 0.5


def crop_box(
    height: int, width: int, scale: tuple[float, float], random: torch.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop, by torchvision's law and from a generator that is given.

    torchvision's transform draws from the global generator: threads that share it would not be reproducible.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(1).uniform_(low, high, generator=random)

    for _ in range(_TRIES):
        area = height * width * uniform(*scale).item()
        ratio = uniform(*_LOG_RATIO).exp().item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=random))
            left = int(torch.randint(0, width - w + 1, (1,), generator=random))
            return top, left, h, w
    # A very long image: the widest or highest part of it that keeps the ratio, from the middle.
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def opened(path: Path) -> Image.Image:
    """An image file, decoded, as RGB of 8 bits; 16 bits of grey are scaled, 0 to 65,535 becoming 0 to 255.

    Raises:
        BenchError: it is missing, is no image, is cut off, or holds numbers whose range it does not say;
            names it.
    """
    try:
        with Image.open(path) as image:
            if image.mode in _WIDE:
                return _narrowed(path, image)
            return image.convert("RGB")
    except FileNotFoundError as e:
        raise BenchError(f"{path}: no such image file") from e
    # What Pillow raises for damaged files, by format: broken PNG chunks are SyntaxErrors.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as e:
        raise BenchError(f"{path}: not a readable image: {e}") from e


#: Pillow's modes of grey with more than 8 bits, which it would cut off at 255 in place of scaling.
_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def _narrowed(path: Path, image: Image.Image) -> Image.Image:
    """Grey of 16 bits as RGB of 8; Pillow opens such PNGs with 16 or 32 bits, by its version."""
    values = np.asarray(image)
    whole = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if not whole or values.min() < 0 or values.max() > 65_535:
        raise BenchError(
            f"{path}: grey of {values.dtype} from {values.min():g} to {values.max():g}, whose range the file"
            " does not say; expected 8 or 16 bits a channel: convert it"
        )
    return Image.fromarray(np.round(values / 257.0).astype(np.uint8)).convert("RGB")


def decode(paths: Sequence[Path], view: View, *, seed: int = 0, threads: int | None = None) -> np.ndarray:
    """Decode and cut images side by side; Pillow lets other threads work meanwhile.

    Args:
        paths: n image files.
        view: what is cut out of them.
        seed: the whole randomness of a `Training` view, whatever the number of threads.
        threads: at once; torch's own number if None.

    Returns:
        (n, size, size, 3) uint8.

    Raises:
        BenchError: a file is no readable image.
    """
    with ThreadPoolExecutor(threads or torch.get_num_threads()) as pool:
        return _gathered(_submitted(pool, paths, view, [seed]), view)


def stream(
    batches: Iterable[Sequence[Path]],
    view: View,
    *,
    seed: int = 0,
    first: int = 0,
    threads: int | None = None,
    ahead: int = 2,
) -> Iterator[np.ndarray]:
    """`decode` of batch after batch, while the ``ahead`` next ones are being decoded.

    ``first``: the number of the first batch. Randomness is of the seed and a batch's number, so that a run
    that goes on from a checkpoint sees the same crops.
    """
    waiting: deque[list[Future[np.ndarray]]] = deque()
    pool = ThreadPoolExecutor(threads or torch.get_num_threads())
    try:
        for number, paths in enumerate(batches, first):
            waiting.append(_submitted(pool, paths, view, [seed, number]))
            if len(waiting) > ahead:
                yield _gathered(waiting.popleft(), view)
        while waiting:
            yield _gathered(waiting.popleft(), view)
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(
    pool: ThreadPoolExecutor, paths: Sequence[Path], view: View, key: Sequence[int]
) -> list[Future[np.ndarray]]:
    seeds = np.random.SeedSequence(key).generate_state(len(paths), np.uint32)
    return [pool.submit(_one, path, view, int(s)) for path, s in zip(paths, seeds, strict=True)]


def _one(path: Path, view: View, seed: int) -> np.ndarray:
    return np.asarray(view.cut(opened(path), seed))


def _gathered(futures: Sequence[Future[np.ndarray]], view: View) -> np.ndarray:
    out = np.empty((len(futures), view.size, view.size, 3), np.uint8)
    for i, future in enumerate(futures):
        out[i] = future.result()
    return out
