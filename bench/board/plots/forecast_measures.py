"""What is measured of forecasts, for each task: by lead, ranks of observations among members, spectra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.board.canvas import INK, PALETTE, draw, logarithmic, plain
from bench.board.plots.forecasts import MAX_TASKS, rows_shown
from bench.board.registry import Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.board.model import Board
    from bench.board.view import CellView

#: Measures by lead, a line of panels each: what its axis says, and the series, drawn solid and dashed.
_BY_LEAD = (
    ("CRPS", ("crps",)), ("error, spread", ("rmse", "spread")), ("CSI", ("csi",)), ("FSS", ("fss",)),
)  # fmt: skip
#: Of a row its number, by which it is drawn, its label, and its series on a task, means over seeds: name ->
#: values.
_Lines = Sequence[tuple[int, str, Mapping[str, np.ndarray]]]


#: What is drawn here of every row's forecasts; general pictures have the rest.
_DRAWN = (*(name for _, names in _BY_LEAD for name in names), "ranks", "spectrum")


@picture("forecast-measures", track="forecasting", order=40, series=_DRAWN)
def measures(board: Board) -> list[Picture]:
    """What is measured by lead, how observations rank among members, and the spectrum, of the rows whose
    forecasts are shown.
    """
    tasks, leads = list[tuple[str, _Lines]](), dict[str, list[Any]]()
    rows = rows_shown(board)
    for t, task in enumerate(board.tasks[:MAX_TASKS]):
        read = [_series(board, r.cells[t]) for r in rows]
        names = [plain(r.info.label) for r in rows]
        if found := [(k, names[k], series) for k, (series, _) in enumerate(read) if series]:
            tasks.append((task.name, found))
            leads[task.name] = next(at for _, at in read if at)
    if not tasks:
        return []
    shown = [_by_lead(board, tasks, leads)]
    for make, name in ((_ranks, "ranks"), (_spectra, "spectrum")):
        having = [(task, only) for task, lines in tasks if (only := [r for r in lines if name in r[2]])]
        if having:
            shown.append(make(board, having))
    return shown


def _series(board: Board, cell: CellView) -> tuple[dict[str, np.ndarray], list[Any]]:
    """The series of a cell by name, means over the seeds that have them in one shape; and its leads."""
    of: dict[str, list[np.ndarray]] = {}
    leads: list[Any] = []
    for record in board.records(cell):
        for name, raw in record.series.items():
            of.setdefault(name, []).append(np.array(raw["data"], float))
            leads = leads or list(raw["coords"].get("lead", ()))
    same = {name: [v for v in values if v.shape == values[0].shape] for name, values in of.items()}
    return {name: _mean(np.stack(values)) for name, values in same.items()}, leads


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis, without what is NaN; NaN where all are."""
    seen = ~np.isnan(values)
    found: np.ndarray = np.where(seen, values, 0).sum(0) / np.where(seen.any(0), seen.sum(0), np.nan)
    return found


def _by_lead(board: Board, tasks: Sequence[tuple[str, _Lines]], leads: Mapping[str, list[Any]]) -> Picture:
    there = {name for _, lines in tasks for _, _, series in lines for name in series}
    panels = [(what, names) for what, names in _BY_LEAD if there.intersection(names)]

    def on(figure: Figure) -> str:
        grid = figure.subplots(len(panels), len(tasks), squeeze=False, sharex="col")
        for axes, (what, names) in zip(grid, panels, strict=True):
            axes[0].set_ylabel(what)
            for ax, (task, lines) in zip(axes, tasks, strict=True):
                for k, label, series in lines:
                    for name, style in zip(names, ("-", (0, (3, 2))), strict=False):
                        if name in series:
                            # Events are by threshold first: their mean is that of the board's column.
                            y = series[name] if series[name].ndim == 1 else _mean(series[name])
                            ax.plot(leads[task], y, label=label, linestyle=style, **_look(k))
        for ax, (task, _) in zip(grid[0], tasks, strict=True):
            ax.set_title(plain(task))
        for ax in grid[-1]:
            ax.set_xlabel("lead")
        _legend(figure, grid.ravel())
        return (
            "What is measured by lead, on each task's own scale, means over seeds: CRPS; root mean square"
            " error of the mean (solid) and spread (dashed), equal of a reliable ensemble; CSI and FSS, means"
            " over thresholds. Empty: the task has no thresholds."
        )

    return draw(board, "by-lead", on, *_size(len(tasks), 1.6 * len(panels)))


def _ranks(board: Board, tasks: Sequence[tuple[str, _Lines]]) -> Picture:
    def on(figure: Figure) -> str:
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
        for ax, (task, lines) in zip(axes, tasks, strict=True):
            for k, label, series in lines:
                share = _mean(series["ranks"])
                if len(share) > 2:  # of one forecast it only says how often it was too low
                    ax.plot(np.linspace(0, 1, len(share)), share * len(share), label=label, **_look(k))
            ax.axhline(1, color=INK, linewidth=0.8, linestyle=":")
            ax.set_title(plain(task))
            ax.set_xlabel("rank")
        axes[0].set_ylabel("share × ranks")
        _legend(figure, axes)
        return (
            "Where observations rank among the members, from below all (0) to above all (1), over all leads:"
            " 1 everywhere of a reliable ensemble, high ends of one with too little spread. Cells without"
            " rain are at the floor of the scale in observation and members alike, whose rank is shared."
        )

    return draw(board, "ranks", on, *_size(len(tasks), 2.4))


def _spectra(board: Board, tasks: Sequence[tuple[str, _Lines]]) -> Picture:
    def on(figure: Figure) -> str:
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
        for ax, (task, lines) in zip(axes, tasks, strict=True):
            observed = lines[0][2]["spectrum"][1, -1]
            waves = np.arange(1, len(observed) + 1)
            ax.plot(waves, observed, color=INK, linewidth=2.4, alpha=0.5, label="observed")
            for k, label, series in lines:
                ax.plot(waves, series["spectrum"][0, -1], label=label, **_look(k))
            logarithmic(ax, "x", "y")
            ax.set_title(plain(task))
            ax.set_xlabel("cycles a window")
        axes[0].set_ylabel("power")
        _legend(figure, axes)
        return (
            "Power of the members (of one forecast, of itself) at the last lead by wavenumber, beside what"
            " was observed: less at high wavenumbers is blur. Of windows that were observed everywhere."
        )

    return draw(board, "spectra", on, *_size(len(tasks), 2.6))


def _size(tasks: int, height: float) -> tuple[float, float]:
    """Width and height of a figure with a column a task, and room for the legend."""
    return max(5.0, 2.1 * tasks), height + 0.8


def _look(k: int) -> dict[str, Any]:
    return {"color": PALETTE[k % len(PALETTE)], "linewidth": 1.3, "alpha": 0.6 if k >= len(PALETTE) else 1.0}


def _legend(figure: Figure, axes: Iterable[Axes]) -> None:
    """One for all panels, below them: names of rows are long."""
    handles: dict[str, Any] = {}
    for ax in axes:
        handles |= {label: h for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    columns = max(1, int(figure.get_figwidth() // 2.4))
    figure.legend(
        handles.values(), handles, loc="outside lower left", frameon=False, fontsize=8, ncols=columns
    )  # fmt: skip
