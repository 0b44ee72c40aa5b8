"""The board of forecasts: all measures by lead, and figures and animations of one test window."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sample_board import BoardTrack

from bench.board.model import Board
from bench.board.plots import forecast_measures, paired_series, steps
from bench.board.plots import forecasts as plot
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.contract import BenchError, Metric, Record, Task
from bench.tracks.forecasting import views

SIDE, LEADS = 4, 3
#: A series of which no picture of the track knows.
POOLED = {"dims": ["lead"], "coords": {"lead": [1, 2, 3]}, "data": [1.0, 2.0, 3.0]}


class Forecasts(BoardTrack):
    name = "forecasting"
    metrics = (Metric(name="crps", better="lower"),)
    reference = "lagged"


class Sheets(dict):
    def view(self, name):
        if name not in self:
            raise BenchError(f"no artifact {name}")
        return self[name]


def sheet(tone, empty=()):
    """A view whose lines have a tone that grows with the lead; some lines are empty."""
    found = np.zeros((len(views.LINES), SIDE, 1 + LEADS, SIDE), np.uint8)
    for k, name in enumerate(views.LINES):
        if name not in empty:
            found[k] = np.array([0, tone, tone + 40, tone + 80])[None, :, None]
    return np.repeat(found.reshape(len(views.LINES) * SIDE, -1)[..., None], 3, axis=2)


def board(sheets, tasks=("rain",), series=None, counterpart=None):
    """``sheets``: {row: its view, or None}; ``series``: {row: its series}, the same on every task;
    ``counterpart``: that of every row but itself.
    """
    records, slots = {}, []
    for k, (row, view) in enumerate(sheets.items()):
        for task in tasks:
            key = f"{row}-{task}"
            views_of = {} if view is None else {"forecast": key}
            records[key] = Record(key=key, kind="cell", cell={}, status="ok", views=views_of)
            records[key] = replace(records[key], series=(series or {}).get(row, {}))
            slots.append(Slot(row=row, task=task, seed=0, key=key, status="ok", metrics={"crps": 1.0 + k}))
    spec = BoardSpec(
        track=Forecasts(), profile="laptop", ranks_by="crps", tasks=[Task(name=t) for t in tasks],
        rows=[
            RowInfo(row=r, label=f"{r.title()} & <co>", role="baseline",
                    counterpart=None if r == counterpart else counterpart)
            for r in sheets
        ],
    )  # fmt: skip
    pixels = {f"{r}-{t}": v for r, v in sheets.items() for t in tasks if v is not None}
    return Board(spec, slots, records.get, Sheets(pixels))


def image(picture):
    """The PNG inside the SVG."""
    data = re.search(r'href="data:image/png;base64,([^"]+)"', picture.svg)[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))


def square(found, row, line):
    """A square of an image as red, green, blue, opacity, without the pixel that is between squares."""
    pixels = np.asarray(found.convert("RGBA"))
    at, across = row * (SIDE + 1), line * (SIDE + 1)
    assert (pixels[at : at + SIDE, across + SIDE, 3] == 0).all()
    return pixels[at : at + SIDE, across : across + SIDE]


def test_the_lines_are_those_that_records_keep():
    assert tuple(plot.LINES) == views.LINES


def test_a_figure_has_a_line_a_row_the_best_first_at_the_last_lead():
    picture, _ = plot.forecasts(board({"steps": sheet(175), "lagged": sheet(32, empty=("U", "member 1"))}))
    assert picture.name == "forecasting-forecast-rain"
    assert picture.svg.index("Steps &amp; &lt;co&gt;") < picture.svg.index("Lagged &amp;")
    found = image(picture)
    assert getattr(found, "n_frames", 1) == 1
    assert found.size == ((SIDE + 1) * len(views.LINES), (SIDE + 1) * 2)
    best, reference = square(found, 0, 0), square(found, 1, 0)
    assert best[0, 0].tolist() == [253, 231, 37, 255], "the upper limit of viridis"
    assert (best == best[0, 0]).all()
    assert (reference[..., 3] == 255).all()
    assert (reference[..., :3] != best[..., :3]).any()
    u, member = (square(found, 1, views.LINES.index(n)) for n in ("U", "member 1"))
    assert (u[..., 3] == 0).all(), "what a row does not have is see-through"
    assert (member[..., 3] == 0).all()


def test_an_animation_goes_over_the_leads_without_end():
    _, picture = plot.forecasts(board({"steps": sheet(32), "lagged": sheet(32)}))
    assert picture.name == "forecasting-forecast-rain-moving"
    found = image(picture)
    assert found.n_frames == LEADS
    assert found.info["loop"] == 0
    seen, bars = [], []
    for k in range(LEADS):
        found.seek(k)
        assert found.info["duration"] > 0
        seen.append(tuple(square(found, 0, 0)[0, 0]))
        bars.append(int((np.asarray(found.convert("RGBA"))[-1, :, 3] > 0).sum()))
    assert len(set(seen)) == LEADS
    assert seen[0] == (68, 1, 84, 255), "the lower limit of viridis"
    assert bars == [round((SIDE + 1) * len(views.LINES) * (k + 1) / LEADS) for k in range(LEADS)]


def test_rows_without_a_view_and_views_of_another_form_are_left_out():
    picture, _ = plot.forecasts(
        board({"steps": sheet(32), "lagged": None, "unet": np.zeros((5, 7, 3), np.uint8)})
    )
    assert image(picture).size[1] == SIDE + 1
    assert plot.forecasts(board({"steps": None, "lagged": None})) == []


def test_each_task_has_its_figure_and_its_animation():
    made = plot.forecasts(board({"steps": sheet(32), "lagged": sheet(32)}, tasks=("rain", "storm")))
    names = [p.name.removeprefix("forecasting-forecast-") for p in made]
    assert names == ["rain", "rain-moving", "storm", "storm-moving"]


def measured(members, *, thresholds=False):
    """The series of a row as records hold them."""
    leads = list(range(1, LEADS + 1))
    at = {"lead": leads}

    def by_lead(*values):
        return {"dims": ["lead"], "coords": at, "data": list(values)}

    found = {
        "crps": by_lead(0.1, 0.2, 0.3), "rmse": by_lead(0.2, 0.3, 0.4),
        "spread": by_lead(0.1, 0.2, 0.3) if members > 1 else by_lead(None, None, None),
        "ranks": {"dims": ["lead", "rank"], "coords": {**at, "rank": list(range(members + 1))},
                  "data": [[1 / (members + 1)] * (members + 1)] * LEADS},
        "spectrum": {"dims": ["of", "lead", "wavenumber"],
                     "coords": {"of": ["forecast", "observed"], **at, "wavenumber": [1, 2]},
                     "data": [[[4.0, 1.0]] * LEADS, [[9.0, 7.0]] * LEADS]},
        "precision": {"dims": ["map", "subset", "lead"],
                      "coords": {"map": ["U"], "subset": ["all"], **at}, "data": [[[0.1] * LEADS]]},
    }  # fmt: skip
    if thresholds:
        events = {"dims": ["threshold", "lead"], "coords": {"threshold": [1.0, 4.0], **at}}
        found["csi"] = {**events, "data": [[0.5] * LEADS, [None] * LEADS]}
    return found


def test_all_measures_of_each_task_are_drawn_by_lead_with_ranks_and_spectrum():
    rows = {"steps": None, "lagged": None}
    series = {"steps": measured(8, thresholds=True), "lagged": measured(4)}
    made = forecast_measures.measures(board(rows, tasks=("rain", "storm"), series=series))
    names = [p.name.removeprefix("forecasting-") for p in made]
    assert names == ["by-lead", "ranks", "spectra"]
    for picture in made:
        for text in ("rain", "storm", "Steps &amp; &lt;co&gt;", "Lagged &amp; &lt;co&gt;"):
            assert text in picture.svg
    assert "observed" in made[2].svg, "the spectrum of what was observed is a line of its own"
    assert "nan" not in made[0].svg


def test_a_row_has_its_colour_on_every_task(monkeypatch):
    """Also where the row before it has no result, as STEPS on wind."""
    series = {"steps": measured(8), "lagged": measured(8)}
    made = board({"steps": None, "lagged": None}, tasks=("rain", "wind"), series=series)
    read = forecast_measures._series
    monkeypatch.setattr(
        forecast_measures, "_series",
        lambda of, cell: ({}, []) if (cell.row, cell.task) == ("steps", "wind") else read(of, cell),
    )  # fmt: skip
    seen = []
    monkeypatch.setattr(forecast_measures, "_spectra", lambda of, tasks: seen.append(dict(tasks)))
    forecast_measures.measures(made)
    assert [k for k, _, _ in seen[0]["rain"]] == [0, 1]
    assert [(k, label[:6]) for k, label, _ in seen[0]["wind"]] == [(1, "Lagged")]


def test_a_row_with_one_member_has_no_ranks_and_a_task_without_series_no_panel():
    series = {"steps": measured(8), "lagged": measured(1)}
    _, ranks, _ = forecast_measures.measures(board({"steps": None, "lagged": None}, series=series))
    assert "Lagged" not in ranks.svg
    assert forecast_measures.measures(board({"steps": None, "lagged": None})) == []


def test_forecast_and_observation_and_unlike_maps_are_never_averaged_into_one_line():
    made = board({"steps": None, "lagged": None}, series={"steps": measured(8)})
    (cell,) = next(r for r in made.every_row if r.info.row == "steps").cells
    assert set(paired_series._series(made, cell)) == {"crps", "rmse", "spread", "ranks"}


def test_general_pictures_leave_to_this_track_what_it_draws():
    series = dict.fromkeys(("steps", "lagged"), measured(8) | {"pooled": POOLED})
    made = board({"steps": None, "lagged": None}, series=series, counterpart="steps")
    assert [p.name for p in paired_series.paired_series(made)] == ["forecasting-pooled"]
    assert steps.over_steps(made) == []


@pytest.mark.parametrize(("others", "drawn"), [(6, 1), (7, 0)])
def test_a_counterpart_of_more_rows_than_a_picture_has_panels_makes_no_pairs(others, drawn):
    rows = ["steps", *(f"row-{k}" for k in range(others))]
    series = {row: {"pooled": POOLED} for row in rows}
    made = board(dict.fromkeys(rows), series=series, counterpart="steps")
    assert len(paired_series.paired_series(made)) == drawn


def test_the_reference_the_best_row_and_all_rows_of_claims_are_drawn():
    """As many as the track's claims name, and two."""
    from bench.tracks.forecasting.track import TRACK

    claimed = {r for c in TRACK.claims for side in (c.rows, c.over, *c.also) for r in side}
    assert len(claimed | {TRACK.reference}) + 1 <= plot.MAX_ROWS
