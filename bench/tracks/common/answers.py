"""Checking what a method answered, with errors that name the entry, what was expected and what was found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from bench.errors import AnswerError, nearest

if TYPE_CHECKING:
    import numpy as np


class Answer:
    """A method's answer, a mapping, once its entries are known to be the ones that the track has.

    Its methods read one entry each and check it; every error begins with the name of the track.

    Args:
        track: name of the track, for the errors.
        answer: what the method returned.
        required: for each entry that has to be there, what is expected in it.
        optional: names of the entries that may be there.

    Raises:
        AnswerError: the answer is no mapping, has an entry of another name, or lacks one that is required.
    """

    def __init__(
        self, track: str, answer: Any, *, required: Mapping[str, str], optional: Collection[str] = ()
    ) -> None:
        self.track = track
        if not isinstance(answer, Mapping):
            names = " and ".join(map(repr, required))
            raise self.error(f"the answer is a {type(answer).__name__}, expected a mapping with {names}")
        known = (*required, *optional)
        for key in answer:
            if key not in known:
                raise self.error(f"answer[{key!r}] is no entry of an answer{nearest(str(key), known)}")
        for key, expected in required.items():
            if answer.get(key) is None:
                raise self.error(f"the answer lacks {key!r}, expected {expected}")
        self._entries = answer

    def error(self, message: str) -> AnswerError:
        """The error to raise for an answer of this track."""
        return AnswerError(f"{self.track}: {message}")

    def get(self, key: str) -> Any:
        """An entry as it was given; None if it is not there."""
        return self._entries.get(key)

    def number(self, key: str) -> float | None:
        """An entry that is a number or nothing.

        Raises:
            AnswerError: it is something else.
        """
        value = self.get(key)
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError) as e:
            raise self.error(f"answer[{key!r}] is {value!r}, expected a number or nothing") from e

    def function(self, key: str, of: str) -> Callable[..., Any]:
        """An entry that is a function.

        Args:
            key: name of the entry.
            of: what the function is given, in words, for the error.

        Raises:
            AnswerError: it is something else.
        """
        value = self.get(key)
        if not callable(value):
            raise self.error(f"answer[{key!r}] is {value!r}, expected a function of {of}")
        found: Callable[..., Any] = value
        return found

    def array(self, key: str, shape: tuple[int, ...] | None = None, axes: str = "") -> np.ndarray:
        """An entry as an array of double precision; see `array`, which raises the errors."""
        return array(self.track, f"answer[{key!r}]", self.get(key), shape, axes)

    def probabilities(self, key: str, shape: tuple[int, ...], axes: str) -> np.ndarray:
        """An entry as probabilities, in double precision.

        A number that is not finite passes and becomes a metric of NaN: that method diverged, but what it
        answered has the right shape.

        Args:
            key: name of the entry.
            shape: (n,) for a binary label, (n, classes) otherwise.
            axes: what the axes of the shape are, for the error.

        Raises:
            AnswerError: the entry is no array of numbers of that shape, or a finite number lies outside
                [0, 1].
        """
        import numpy as np

        p = self.array(key, shape, axes)
        finite = p[np.isfinite(p)]
        if ((finite < 0) | (finite > 1)).any():
            raise self.error(
                f"answer[{key!r}] goes from {finite.min():.4g} to {finite.max():.4g}, expected probabilities"
                f" in [0, 1] (logits? apply a {'sigmoid' if len(shape) == 1 else 'softmax'})"
            )
        return p


def array(
    track: str, what: str, values: Any, shape: tuple[int, ...] | None = None, axes: str = ""
) -> np.ndarray:
    """Values that a method gave, as an array of double precision.

    Args:
        track: name of the track, for the errors.
        what: what the values are, for the errors.
        values: an array, a tensor on the CPU, or lists of numbers.
        shape: the shape that is expected; None: any.
        axes: what the axes of that shape are, for the error.

    Raises:
        AnswerError: the values are no array of real numbers, some of them are masked, or they have another
            shape.
    """
    import numpy as np

    try:
        given = np.asarray(values)
        if given.dtype.kind not in "biufO":  # numpy would drop imaginary parts, and read numbers out of texts
            raise TypeError(f"expected real numbers, found {given.dtype}")
        found = given.astype(np.float64, copy=False)
    except (TypeError, ValueError, RuntimeError) as e:
        raise AnswerError(f"{track}: {what} is no array of numbers: {e}") from e
    if masked := int(np.ma.getmaskarray(values).sum()) if np.ma.isMaskedArray(values) else 0:
        raise AnswerError(
            f"{track}: {what} has {masked:,} masked values of {found.size:,}, expected a value each"
        )
    if shape is not None and found.shape != shape:
        meaning = f" ({axes})" if axes else ""
        raise AnswerError(f"{track}: {what} has shape {found.shape}, expected {shape}{meaning}")
    return found
