"""What rows forecast of one test window: a figure and an animation for each task.

Records keep the window as grey squares (the views named `FORECAST`), beside what was observed; here they get
colours.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.board.canvas import INK, plain
from bench.board.inference.claims import in_front
from bench.board.registry import Picture, picture

if TYPE_CHECKING:
    from bench.board.model import Board
    from bench.board.view import RowView

#: The name under which the record of a cell names its view.
FORECAST = "forecast"
#: Lines of a view from above, each with the colours it is drawn in. Of a line that a row does not have, such
#: as the members of a deterministic one, all is black.
LINES = {
    "observed": "viridis", "mean": "viridis", "member 1": "viridis", "member 2": "viridis",
    "member 3": "viridis", "spread": "magma", "U": "cividis", "error": "magma",
}  # fmt: skip
#: Brightness from which on a cell has a value, and brightness of the lower limit of the scale.
_VALUE, _LOWER = 16, 32
#: Of a board are shown at most so many rows, and so many tasks.
MAX_ROWS, MAX_TASKS = 9, 8
#: CSS pixels a side of a square, of the names of rows, of the names of lines; milliseconds of a frame.
_SIDE, _LEFT, _TOP, _MS = 72, 150, 18, 900
_HOW = (
    "The window was chosen by what was observed alone: the one in which it varies most. Observation, mean and"
    " members share one scale; spread and error are drawn from 0 to half of its range; U, a method's own map"
    " of where it is less certain, from 0 to its most. First seed."
)
#: Colours of a map, and the index of what has no value, which is see-through.
_COLOURS, _NOTHING = 84, 255


@dataclass(frozen=True, slots=True)
class _Shown:
    """The view of a row: of every lead the squares of `LINES`, (leads, lines, side, side) uint8."""

    label: str
    squares: np.ndarray


@picture("forecasts", track="forecasting", order=50)
def forecasts(board: Board) -> list[Picture]:
    """For each task a test window of the rows that a reader compares first: the last lead, then all leads."""
    return [made(board, task, shown) for task, shown in _tasks(board) for made in (_still, _moving)]


def _tasks(board: Board) -> list[tuple[str, list[_Shown]]]:
    """Tasks with the views of their rows."""
    rows, found = rows_shown(board), list[tuple[str, list[_Shown]]]()
    for t, task in enumerate(board.tasks):
        shown = [s for row in rows if (s := _view(board, row, t)) is not None]
        if shown and len(found) < MAX_TASKS:
            found.append((task.name, shown))
    return found


def rows_shown(board: Board) -> list[RowView]:
    """The reference, the rows of the claims and the best row, as they are listed."""
    compared = [row for group in in_front(board) for row in group]
    best = [r.info.row for r in board.rows[:1]]
    chosen = list(dict.fromkeys([board.spec.track.reference, *best, *compared]))
    return [r for r in board.every_row if r.info.row in chosen[:MAX_ROWS]]


def _view(board: Board, row: RowView, task: int) -> _Shown | None:
    """The view of the first seed that has one; None if there is none, or it is none of this form."""
    for record in board.records(row.cells[task]):
        name = record.views.get(FORECAST)
        sheet = board.image(name) if name else None
        if sheet is None:
            continue
        side, rest = divmod(sheet.shape[0], len(LINES))
        if rest or not side or sheet.shape[1] % side or sheet.shape[1] < 2 * side:
            continue
        squares = sheet[..., 0].reshape(len(LINES), side, -1, side).transpose(2, 0, 1, 3)
        return _Shown(plain(row.info.label), squares[1:])  # the first column is what was shown to the row
    return None


def _still(board: Board, task: str, shown: Sequence[_Shown]) -> Picture:
    caption = f"{task}: the last lead of one test window. {_HOW}"
    return _picture(board, f"forecast-{task}", caption, shown, [_coloured(shown, -1)])


def _moving(board: Board, task: str, shown: Sequence[_Shown]) -> Picture:
    leads = min(len(s.squares) for s in shown)
    caption = f"{task}: the same window from the first lead to the last; the bar below shows which it is."
    images = [_with_bar(_coloured(shown, k), k + 1, leads) for k in range(leads)]
    return _picture(board, f"forecast-{task}-moving", caption, shown, images)


def _coloured(shown: Sequence[_Shown], lead: int) -> np.ndarray:
    """One lead of all rows as indices of `_palette`, uint8; squares are one pixel apart."""
    maps = list(dict.fromkeys(LINES.values()))
    offset = np.array([_COLOURS * maps.index(m) for m in LINES.values()])[:, None, None]
    lines = []
    for s in shown:
        grey = s.squares[lead].astype(int)
        step = np.clip((grey - _LOWER) * (_COLOURS - 1) / (255 - _LOWER), 0, _COLOURS - 1).round().astype(int)
        index = np.where(grey < _VALUE, _NOTHING, offset + step)
        apart = np.pad(index, ((0, 0), (0, 1), (0, 1)), constant_values=_NOTHING)
        lines.append(apart.transpose(1, 0, 2).reshape(apart.shape[1], -1))
    return np.concatenate(lines).astype(np.uint8)


def _with_bar(image: np.ndarray, lead: int, leads: int) -> np.ndarray:
    """An image with a bar below it, as long as the lead is far."""
    bar = np.full((3, image.shape[1]), _NOTHING, np.uint8)
    bar[1:, : round(image.shape[1] * lead / leads)] = _COLOURS // 2
    return np.concatenate([image, bar])


def _palette() -> list[int]:
    """Red, green and blue of 256 colours: the maps one after another, then what has no value."""
    from matplotlib import colormaps

    maps = dict.fromkeys(LINES.values())
    found = np.concatenate([colormaps[m](np.linspace(0, 1, _COLOURS))[:, :3] for m in maps])
    whole = np.zeros((256, 3))
    whole[: len(found)] = found
    return [int(v) for v in (whole * 255).round().ravel()]


def _png(images: Sequence[np.ndarray]) -> bytes:
    """A PNG of one image, an animated one of several, without end."""
    from PIL import Image

    frames = []
    for image in images:
        frame = Image.fromarray(image, "P")
        frame.putpalette(_palette())
        frames.append(frame)
    out = io.BytesIO()
    several = {"save_all": True, "append_images": frames[1:], "duration": _MS, "loop": 0, "blend": 0}
    frames[0].save(out, "PNG", optimize=True, transparency=_NOTHING, **(several if len(frames) > 1 else {}))
    return out.getvalue()


def _picture(
    board: Board, name: str, caption: str, shown: Sequence[_Shown], images: Sequence[np.ndarray]
) -> Picture:
    """Images of a row a line, with the names of rows and lines around them, as inline SVG."""
    down, across = images[0].shape
    scale = _SIDE / (shown[0].squares.shape[-1] + 1)
    width, height = _LEFT + across * scale, _TOP + down * scale
    text = f'<text font-size="12" fill="{INK}" '
    parts = [
        f'{text}x="{_LEFT + (k + 0.5) * _SIDE:g}" y="{_TOP - 6}" text-anchor="middle">{html.escape(n)}</text>'
        for k, n in enumerate(LINES)
    ]
    parts += [
        f'{text}x="{_LEFT - 8}" y="{_TOP + (k + 0.5) * _SIDE + 4:g}" text-anchor="end">'
        f"{html.escape(s.label)}</text>"
        for k, s in enumerate(shown)
    ]
    data = base64.b64encode(_png(images)).decode()
    parts.append(
        f'<image x="{_LEFT}" y="{_TOP}" width="{across * scale:g}" height="{down * scale:g}"'
        f' style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
    )
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(caption, quote=True)}"'
    )
    svg = f'{head} style="width:100%">{"".join(parts)}</svg>'
    return Picture(f"{board.spec.track.name}-{name}", svg, caption, round(width))
