"""Draw an event of a data set of fields as an animation: what was observed, frame by frame.

    python scripts/show_fields.py stage-iv --out rain-demo.gif

That is the demonstration `rain-demo`: 23 hours of one storm, too few to rank anything by. Any other data set
of fields of the catalogue can be looked at in the same way.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.catalog import CATALOG
from bench.data.fields import frames
from bench.errors import BenchError, nearest

if TYPE_CHECKING:
    import xarray as xr

#: Frames a second, and dots an inch.
PER_SECOND, DOTS = 4, 80


def event(name: str, number: int) -> xr.DataArray:
    """One event of a data set.

    Raises:
        BenchError: there is no such data set, it is missing, or it has fewer events.
    """
    fields = [d.name for d in CATALOG.values() if d.module.startswith("bench.data.fields.")]
    if name not in fields:
        raise BenchError(
            f"{name}: no data set of fields{nearest(name, fields)}; there are {', '.join(fields)}"
        )
    found = frames.read(name)
    if not 0 <= number < len(found):
        raise BenchError(f"{name}: has {len(found)} events, so that --event is at most {len(found) - 1}")
    return found[number]


def animate(shown: xr.DataArray, out: Path) -> None:
    """Write an animation of magnitudes, of rain on a logarithmic scale; grey is what was not observed."""
    import numpy as np
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure

    values = (
        np.sqrt((shown.to_numpy() ** 2).sum(1)) if shown.sizes["component"] > 1 else shown.to_numpy()[:, 0]
    )
    rain = shown.attrs["units"] == "mm/h"
    most = float(np.nanmax(values))
    norm: Any = LogNorm(0.1, max(most, 1.0)) if rain else Normalize(float(np.nanmin(values)), most)
    ys, xs = shown["y"].values, shown["x"].values
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#BBBBBB")
    seen = np.maximum(values, 0.1) if rain else values
    image = axes.imshow(
        seen[0], norm=norm, cmap="viridis", origin="upper" if ys[0] > ys[-1] else "lower",
        extent=(xs.min(), xs.max(), ys.min(), ys.max()), interpolation="nearest", aspect="auto",
    )  # fmt: skip
    figure.colorbar(image, label=shown.attrs["units"])

    def draw(k: int) -> tuple[Any]:
        image.set_data(seen[k])
        axes.set_title(f"{shown.name}, {str(shown['time'].values[k])[:16]}", fontsize=9)
        return (image,)

    FuncAnimation(figure, draw, frames=len(seen)).save(out, PillowWriter(fps=PER_SECOND), dpi=DOTS)


def main(words: list[str]) -> int:
    """Draw what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw an event of a data set of fields as an animated GIF.")
    parser.add_argument("name", help="data set of the catalogue, such as stage-iv")
    parser.add_argument("--event", type=int, default=0, help="number of the event, from 0")
    parser.add_argument("--out", type=Path, help="the GIF; by default <name>.gif")
    asked = parser.parse_args(words)
    try:
        shown = event(asked.name, asked.event)
        out = asked.out or Path(f"{asked.name}.gif")
        animate(shown, out)
    except BenchError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    print(f"{out}: {shown.sizes['time']} frames, {out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
