"""The scale on which fields are compared and learnt: their own unit, or the logarithm of rain.

In mm/h the cores of one storm decide a score; on the logarithm, with a floor that counts all drizzle below as
dry, a factor of two is the same anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from bench.tracks.forecasting.settings import Transform

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    Field = TypeVar("Field", np.ndarray, xr.DataArray)

#: Rain below this, in mm/h, counts as dry.
FLOOR = 0.1


def scaled(values: Field, transform: Transform) -> Field:
    """Fields in physical units on the scale of a task; what is not observed (NaN) stays so."""
    import numpy as np

    if transform == "identity":
        return values
    floored: Any = np.maximum(values, FLOOR)
    found: Field = np.log10(floored)
    return found


def unscaled(values: Field, transform: Transform) -> Field:
    """Fields on the scale of a task in physical units; rain at the floor and below it becomes none."""
    import numpy as np

    if transform == "identity":
        return values
    rain = np.power(10.0, values)
    # `where` of xarray keeps coordinates, that of numpy takes arrays; a product suits both and keeps NaN.
    found: Field = rain * (values > np.log10(FLOOR) + 1e-6)
    return found
