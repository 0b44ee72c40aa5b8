"""How well a condition that was read from a picture agrees with the one that was asked for, and from when on.

Conditions are (n, H, W, channels) arrays; a measure gives one value a picture. Those in `MEASURES` are the
paper's own; `f1`, the scale from floor to ceiling and what is made of the curve over the steps are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from bench.contract import BenchError, Censored

#: Standard deviation in pixels of the blur before SSIM.
BLUR = 1.0
#: SSIM's window in pixels, and its constants for values from 0 to 1 (Wang et al., 2004).
_WINDOW, _C1, _C2 = 7, 0.01**2, 0.03**2
#: A condition is refused if its ceiling is not so many standard errors from its floor.
_ERRORS = 3.0


def ssim(asked: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Structural similarity of maps with values from 0 to 1 after a Gaussian blur of `BLUR`, (n,).

    With a uniform window of 7 pixels and covariances of samples; the mean over where the window fits.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    def mean(v: np.ndarray) -> np.ndarray:
        out: np.ndarray = uniform_filter(v, (0, _WINDOW, _WINDOW, 0))
        return out

    a, b = (gaussian_filter(np.asarray(v, np.float64), (0, BLUR, BLUR, 0)) for v in (asked, read))
    of_a, of_b = mean(a), mean(b)
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    aa, bb, ab = (
        unbiased * (mean(v) - m) for v, m in ((a * a, of_a**2), (b * b, of_b**2), (a * b, of_a * of_b))
    )
    alike = (2 * of_a * of_b + _C1) * (2 * ab + _C2) / ((of_a**2 + of_b**2 + _C1) * (aa + bb + _C2))
    edge = _WINDOW // 2
    fits: np.ndarray = alike[:, edge:-edge, edge:-edge].mean((1, 2, 3))
    return fits


def mse(asked: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Mean squared error, (n,)."""
    found: np.ndarray = np.square(np.asarray(asked, np.float64) - read).mean((1, 2, 3))
    return found


def accuracy(asked: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Share of the pixels that have the same class, (n,): all channels of a pixel together are its class."""
    found: np.ndarray = (asked == read).all(-1).mean((1, 2))
    return found


def f1(asked: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall of lines with a pixel of tolerance, (n,); a diagnostic alone.

    It is generous: a noisy picture has lines near everything.
    """
    from scipy.ndimage import maximum_filter

    a, b = asked[..., 0] > 0.5, read[..., 0] > 0.5
    near_a, near_b = (maximum_filter(v, (0, 3, 3)) for v in (a, b))
    hits = (b & near_a).sum((1, 2)) / np.maximum(1, b.sum((1, 2)))
    found = (a & near_b).sum((1, 2)) / np.maximum(1, a.sum((1, 2)))
    both: np.ndarray = 2 * hits * found / np.maximum(1e-12, hits + found)
    return both


class Measure(NamedTuple):
    """A measure of agreement, and whether more or less of it is better."""

    values: Callable[[np.ndarray, np.ndarray], np.ndarray]
    better: Literal["higher", "lower"]


MEASURES: Mapping[str, Measure] = {
    "ssim": Measure(ssim, "higher"), "mse": Measure(mse, "lower"), "accuracy": Measure(accuracy, "higher"),
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ one scale


def shuffled(measure: Measure, asked: np.ndarray, read: np.ndarray, shifts: int) -> np.ndarray:
    """The measure of each picture against the conditions of others, (n,): the mean over several shifts."""
    n = len(asked)
    by = np.unique(np.linspace(1, n - 1, min(shifts, n - 1)).astype(int))
    found: np.ndarray = np.mean([measure.values(np.roll(asked, int(k), 0), read) for k in by], axis=0)
    return found


class Agreement(NamedTuple):
    """A measure of pictures, what it is by chance and of real pictures, and the share of the way between."""

    value: float
    floor: float
    ceiling: float

    @property
    def share(self) -> float:
        """0 at the floor, 1 at the ceiling; beyond 1 where pictures are easier to read than real ones."""
        return (self.value - self.floor) / (self.ceiling - self.floor)


def agreement(
    measure: Measure, asked: np.ndarray, read: np.ndarray, of_real: np.ndarray, shifts: int
) -> Agreement:
    """How well generated pictures follow conditions.

    Args:
        measure: of `MEASURES`.
        asked: the conditions.
        read: what is read from the generated pictures.
        of_real: what is read from the real pictures that the conditions belong to.
        shifts: number of shifts that the floor is averaged over.
    """
    floor = shuffled(measure, asked, read, shifts).mean()
    return Agreement(
        float(measure.values(asked, read).mean()), float(floor), float(measure.values(asked, of_real).mean())
    )


def check_readable(name: str, measure: Measure, asked: np.ndarray, of_real: np.ndarray, shifts: int) -> None:
    """Make sure that a condition can be read back from real pictures at all.

    Raises:
        BenchError: it is constant, or what is read from real pictures agrees with their own conditions hardly
            better than with those of others.
    """
    if np.ptp(asked) == 0:
        raise BenchError(f"controlnet: the condition {name!r} is {asked.flat[0]:g} in all pictures")
    apart = measure.values(asked, of_real) - shuffled(measure, asked, of_real, shifts)
    apart = apart if measure.better == "higher" else -apart
    error = apart.std(ddof=1) / np.sqrt(len(apart))
    if not apart.mean() > _ERRORS * error:
        raise BenchError(
            f"controlnet: the condition {name!r} cannot be read back from these pictures: real ones are"
            f" {apart.mean():.3g} above chance, with a standard error of {error:.2g}; expected more than"
            f" {_ERRORS:g} errors. Use pictures in which the condition can be seen"
        )


# ------------------------------------------------------------------------------------------- over the steps


def convergence_step(steps: Sequence[int], shares: Sequence[float], threshold: float) -> float | Censored:
    """The first of two successive snapshots at which the share is at least ``threshold``.

    Two, so that one lucky picture of the network does not count. If there are none, all that is known is that
    it lies beyond the last step.
    """
    reached = np.asarray(shares, float) >= threshold
    both = np.flatnonzero(reached[:-1] & reached[1:])
    return float(steps[int(both[0])]) if len(both) else Censored(float(steps[-1]))


def area(steps: Sequence[int], shares: Sequence[float]) -> float | None:
    """The mean share over the steps of training: trapezoids between snapshots, from a share of 0 at step 0.

    None of a single snapshot, from which nothing is known of the steps before it.
    """
    if len(steps) < 2:
        return None
    x, y = np.array([0, *steps], float), np.array([0.0, *shares])
    return float(np.trapezoid(y, x) / x[-1])


def leap(steps: Sequence[int], shares: Sequence[float]) -> float | None:
    """The largest rise over a doubling of the steps, as a share of the whole rise; None if nothing rises.

    The whole rise is that from the first snapshot to the highest share. Between snapshots the share is taken
    to rise evenly in the logarithm of the steps, so that curves that were looked at in other places compare.
    Near 1 the condition is followed all of a sudden; a curve that rises evenly in the logarithm of the steps
    has the inverse of the number of doublings.
    """
    x, y = np.log2(np.asarray(steps, float)), np.asarray(shares, float)
    whole = y.max(initial=-np.inf) - y[:1].min(initial=np.inf)
    if len(y) < 2 or not whole > 0:
        return None
    # The rise over a doubling is largest where it begins or ends at a snapshot, since it is linear between.
    begins = np.unique(np.clip(np.concatenate([x, x - 1]), x[0], x[-1]))
    rises = np.interp(begins + 1, x, y) - np.interp(begins, x, y)  # flat beyond the last snapshot
    return float(np.clip(rises.max() / whole, 0, 1))
