"""What every picture of a board is drawn with: the palette, the figure, and its conversion to inline SVG.

Text stays text (selectable, in the font of the page), and nothing is fetched from elsewhere. Lines and
letters are mid tones that can be read on white and on near-black. The palette is Okabe and Ito's, which
colour-blind readers can tell apart.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from bench.board.registry import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6D3B", "#7A7A7A")
INK = "#7B818A"
_PX = 108  # CSS pixels an inch: 9 pt letters come out as 13 px


@contextmanager
def _style(salt: str) -> Iterator[None]:
    import matplotlib as mpl

    rc: Any = {
        "svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False, "font.family": "sans-serif",
        "font.size": 9, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color":
        INK, "text.color": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
        "axes.grid": False, "xtick.major.size": 3, "ytick.major.size": 3, "figure.facecolor": "none",
        "axes.facecolor": "none", "axes.titlesize": 9, "axes.titlelocation": "left", "axes.titlecolor": INK,
    }  # fmt: skip
    with mpl.rc_context(rc):
        yield


def draw(board: Board, name: str, on: Callable[[Figure], str], width: float, height: float) -> Picture:
    """Draw a picture of a board, as inline SVG.

    Args:
        board: whose picture it is.
        name: of the picture; no other picture of the board may have it.
        on: draws on an empty matplotlib figure and returns the caption.
        width: of the figure, in inches.
        height: of the figure, in inches.
    """
    from matplotlib.figure import Figure

    name = f"{board.spec.track.name}-{name}"
    with _style(name):
        figure = Figure(figsize=(width, height), layout="constrained")
        caption = on(figure)
        out = io.StringIO()
        with warnings.catch_warnings():
            # Text stays text: the reader's fonts draw it, so a glyph missing in ours does not matter.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return Picture(name, _clean(out.getvalue(), caption), caption, round(width * _PX))


def _clean(svg: str, caption: str) -> str:
    """An SVG without prologue, metadata and global styles, sized by the page, named for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height|version|xmlns)="[^"]*"', "", head)
    name = html.escape(caption, quote=True)
    head += f' role="img" aria-label="{name}" style="width:100%;stroke-linejoin:round;stroke-linecap:butt"'
    return f"{head}>{rest}".strip()


def logarithmic(ax: Axes, *names: Literal["x", "y"]) -> None:
    """Put axes on a logarithmic scale, with plain numbers at their ticks. Called once all is drawn.

    matplotlib's own numbers there, also at the ticks between powers of ten, are formulas, and text of a
    picture is none.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    for name in names:
        ax.set(**{f"{name}scale": "log"})
        axis = ax.xaxis if name == "x" else ax.yaxis
        low, high = axis.get_view_interval()
        if high < 100 * low:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda v, _: f"{v:g}")
        axis.set_minor_formatter(NullFormatter())


def plain(value: str) -> str:
    """A label without control characters, which SVG cannot hold, and not longer than a label should be."""
    text = "".join(c for c in value if c.isprintable())
    return text if len(text) <= 34 else text[:33] + "…"


def outliers(means: Sequence[float]) -> set[int]:
    """Indices of rows so far from the rest (a floor such as the prior) that they would flatten all others.

    Those are eight times as far from the median as rows are at the median.
    """
    if len(means) < 4:
        return set()
    middle = median(means)
    away = [abs(x - middle) for x in means]
    spread = median(away)
    return {i for i, x in enumerate(away) if x > 8 * spread} if spread > 0 else set()
