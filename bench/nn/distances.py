"""Distances between two sets of pictures, on features of EfficientNet-Lite0.

Stand-ins where no Inception network is at hand, named after what they stand on: ``KID-lite0``, ``FD-lite0``.
Neither is comparable with a published KID or FID, and `frechet` only with itself at one number of pictures.

Sets of features are (n, D) arrays; all sums are in double precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

#: Features of a picture.
FEATURES = 1280
#: Entries of a kernel matrix that are in memory at once (32 MB): up to 2,048 by 2,048 pictures that is the
#: whole matrix, above it is blocks of rows.
_ENTRIES = 1 << 22


class Lite0:
    """EfficientNet-Lite0 with its ImageNet weights, up to the pooled features.

    Args:
        size: pixels a side that pictures are resized to. Its own are 224; the fewer, the cheaper (a picture
            costs size^2) and the coarser: the last map has size / 32 cells a side.
        device: where it runs.
        batch: pictures at a time.

    Raises:
        BenchError: the package with its weights is missing.
    """

    def __init__(self, size: int = 128, device: str = "cpu", batch: int = 16) -> None:
        import timm
        import torch

        from bench.nn.lite0 import Preprocess, imagenet_weights

        net = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        net.load_state_dict(imagenet_weights())
        # Channels last and few at a time: the maps stay in the cache, which on a CPU is 1.3 x as fast.
        self._net: Any = (
            net.eval()
            .requires_grad_(False)
            .to(  # type: ignore[call-overload]
                device, memory_format=torch.channels_last
            )
        )
        self._preprocess = Preprocess(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
        self._device, self._batch = device, batch

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(n, H, W, 3) uint8 -> (n, FEATURES) float32."""
        import torch

        out = np.empty((len(pictures), FEATURES), np.float32)
        with torch.no_grad():
            for i in range(0, len(pictures), self._batch):
                x = self._preprocess(pictures[i : i + self._batch]).to(self._device)
                x = x.contiguous(memory_format=torch.channels_last)
                out[i : i + self._batch] = self._net(x).float().cpu().numpy()
        return out


class Estimate(NamedTuple):
    """A value with its standard error (or deviation, where said)."""

    value: float
    error: float


def kernel_distance(real: np.ndarray, fake: np.ndarray) -> Estimate:
    """Squared maximum mean discrepancy under ``k(x, y) = (x.y / D + 1)^3``, and its standard error.

    Unbiased at any number of pictures, so it may be negative: two sets of one distribution have 0 on average.
    The error is the jackknife's over the pictures of both sets; of two sets of one distribution it comes out
    too large (by a factor of up to about the square root of 2), never too small.

    Kernel matrices are summed in blocks of rows, so that memory grows with the number of pictures and not
    with its square.

    Args:
        real: (m, D), at least 3.
        fake: (n, D), at least 3.

    Source: Bińkowski et al., Demystifying MMD GANs (ICLR 2018); Arvesen (1969) for two-sample U-statistics.
    """
    m, n = len(real), len(fake)
    rows_x, rows_y, to_y, to_x, both = _both_sums(real, fake)
    mean_x, mean_y = rows_x.sum() / (m * (m - 1)), rows_y.sum() / (n * (n - 1))
    less_x = (rows_x.sum() - 2 * rows_x) / ((m - 1) * (m - 2)) + mean_y - 2 * (both - to_y) / ((m - 1) * n)
    less_y = (rows_y.sum() - 2 * rows_y) / ((n - 1) * (n - 2)) + mean_x - 2 * (both - to_x) / (m * (n - 1))
    variance = (m - 1) * less_x.var() + (n - 1) * less_y.var()
    return Estimate(float(mean_x + mean_y - 2 * both / (m * n)), float(np.sqrt(variance)))


def kernel_units(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """What each picture adds to `kernel_distance`: (m + n,), first of the real ones, then of the others.

    Their mean is the distance. The variance of that mean, as if they were m + n independent numbers, is the
    distance's own to first order: they are its projections on single pictures (Hoeffding's), of either set
    scaled by that set's share, as DeLong's placement values are for an AUC. So the units of two generators
    compared with the same real pictures, and sampled from the same noise, can be subtracted one by one.

    Source: Hoeffding (1948), for U-statistics of two samples Lehmann (1951).
    """
    m, n = len(real), len(fake)
    rows_x, rows_y, to_y, to_x, _ = _both_sums(real, fake)
    of_x, of_y = rows_x / (m - 1) - to_y / n, rows_y / (n - 1) - to_x / m
    value, total = of_x.mean() + of_y.mean(), m + n
    # The kernel of the statistic is symmetric in two pictures of each set: hence the factor 2.
    moved = [2 * total / len(of) * (of - of.mean()) for of in (of_x, of_y)]
    units: np.ndarray = value + np.concatenate(moved)
    return units


def _both_sums(
    real: np.ndarray, fake: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Sums of the kernel: of each picture with the others of its set, with those of the other set, of all."""
    if min(len(real), len(fake)) < 3:
        raise ValueError(f"{len(real)} and {len(fake)} pictures: expected at least 3 in each set")
    x, y = real.astype(np.float64), fake.astype(np.float64)
    rows_x, rows_y = (_kernel_sums(s, s, diagonal=False).rows for s in (x, y))
    return rows_x, rows_y, *_kernel_sums(x, y)


class _Sums(NamedTuple):
    """Sums of a matrix (m, n) over each row, (m,), over each column, (n,), and over everything."""

    rows: np.ndarray
    columns: np.ndarray
    all: float


def _kernel_sums(x: np.ndarray, y: np.ndarray, *, diagonal: bool = True) -> _Sums:
    """Sums of the kernel's matrix (m, n), of which at most `_ENTRIES` entries are in memory at once.

    Args:
        x: (m, D).
        y: (n, D).
        diagonal: whether the kernel of a picture with itself counts.
    """
    rows, columns, total = np.empty(len(x)), np.zeros(len(y)), 0.0
    size = max(1, _ENTRIES // len(y))
    for first in range(0, len(x), size):
        k = x[first : first + size] @ y.T
        k /= x.shape[1]
        k += 1
        k **= 3
        if not diagonal:
            np.fill_diagonal(k[:, first:], 0)
        rows[first : first + size] = k.sum(1)
        columns += k.sum(0)
        total += k.sum()
    return _Sums(rows, columns, float(total))


def frechet(real: np.ndarray, fake: np.ndarray, *, n: int, dims: int = 64, seed: int = 0) -> float:
    """Fréchet distance of two Gaussians fitted to n pictures of each set: 0 for equal sets, biased upwards.

    The bias falls with n and depends on what is compared, so a board has one n for all of its rows. Features
    are projected to ``dims`` directions drawn from ``seed``, the same for all, scaled so that squared
    distances are kept on average: a covariance of all `FEATURES` has no full rank at a few hundred pictures.

    Args:
        real: (at least n, D).
        fake: (at least n, D).
        n: pictures of each set, drawn from ``seed`` where there are more.
        dims: directions, fewer than n.
        seed: of the draws.

    Source: Dowson and Landau (1982); Heusel et al. (NeurIPS 2017).
    """
    rng = np.random.default_rng(seed)
    directions = projection(real.shape[1], dims, seed)
    return _frechet(*(_some(s, n, rng) @ directions for s in (real, fake)))


def frechet_floor(real: np.ndarray, *, n: int, dims: int = 64, seed: int = 0, draws: int = 10) -> Estimate:
    """What `frechet` gives for two disjoint halves of one set, n pictures each: its bias at this n.

    Args:
        real: (at least 2 n, D).
        n: as of the comparisons that it stands beside.
        dims: as there.
        seed: as there.
        draws: pairs of halves.

    Returns:
        the mean over the draws, and their standard deviation (draws overlap: it is no error of the mean).
    """
    rng = np.random.default_rng([seed, 1])
    projected = real.astype(np.float64) @ projection(real.shape[1], dims, seed)
    found = []
    for _ in range(draws):
        both = _some(projected, 2 * n, rng)
        found.append(_frechet(both[:n], both[n:]))
    return Estimate(float(np.mean(found)), float(np.std(found, ddof=1)) if draws > 1 else 0.0)


def projection(size: int, dims: int, seed: int) -> np.ndarray:
    """(size, dims): orthogonal directions of length ``sqrt(size / dims)``; the identity if as many."""
    if dims >= size:
        return np.eye(size)
    drawn = np.random.default_rng([seed, size, dims]).standard_normal((size, dims))
    directions: np.ndarray = np.linalg.qr(drawn)[0] * np.sqrt(size / dims)
    return directions


def _some(values: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n rows in random order."""
    if len(values) < n:
        raise ValueError(f"{len(values)} pictures: expected at least {n}")
    return values[rng.permutation(len(values))[:n]].astype(np.float64)


def _frechet(x: np.ndarray, y: np.ndarray) -> float:
    if min(len(x), len(y)) <= x.shape[1]:
        raise ValueError(
            f"{min(len(x), len(y))} pictures for {x.shape[1]} directions: expected more pictures"
        )
    return gaussian_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))


def gaussian_distance(mean: np.ndarray, cov: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """Fréchet distance of two Gaussians: ``|m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)``."""
    cov, cov2 = np.atleast_2d(cov), np.atleast_2d(cov2)
    values, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(min=0)).sum()
    gap = mean - mean2
    return float(max(0.0, gap @ gap + np.trace(cov) + np.trace(cov2) - 2 * shared))


class Coverage(NamedTuple):
    """``precision``: share of the fakes where real ones are; ``recall``: of the real ones where fakes are."""

    precision: float
    recall: float


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Coverage:
    """Improved precision and recall: what lies in a ball around a picture that holds its k nearest ones.

    Both depend on the numbers of pictures: compare only at the same.

    Args:
        real: (m, D), more than k.
        fake: (n, D), more than k.
        k: neighbours, the picture itself not counted.

    Source: Kynkäänniemi et al. (NeurIPS 2019).
    """
    from scipy.spatial.distance import cdist

    x, y = real.astype(np.float64), fake.astype(np.float64)
    if min(len(x), len(y)) <= k:
        raise ValueError(f"{len(x)} and {len(y)} pictures: expected more than {k} in each set")
    around_x, around_y = (np.partition(cdist(s, s), k, axis=1)[:, k] for s in (x, y))
    across = cdist(x, y)
    held = (across <= around_x[:, None]).any(0)
    covered = (across <= around_y[None]).any(1)
    return Coverage(float(held.mean()), float(covered.mean()))
