"""Windows are cut where a source says, and no frame or cell of a test window is in another split."""

import itertools
import re

import numpy as np
import pytest

from bench.data.fields import frames
from bench.tracks.forecasting import cutting, settings
from bench.tracks.forecasting.settings import recipe
from bench.tracks.forecasting.sources import radar, winds
from bench.tracks.forecasting.track import TRACK


def event(values, units="mm/h"):
    return frames.event(values, name="event", units=units, components=["rain"], time=np.arange(len(values)))


def test_a_window_holds_its_frames_and_what_lies_around_and_nothing_beyond_the_domain():
    values = np.arange(6 * 8 * 8, dtype=np.float32).reshape(6, 1, 8, 8)
    part = cutting.cut(
        event(values), [cutting.Place(1, 0, 4, "b")], cutting.Shape(2, 2, 4, 2), "e", 5, "minutes"
    )
    np.testing.assert_array_equal(part.windows.inputs[0], values[1:3, :, 0:4, 4:8])
    np.testing.assert_array_equal(part.windows.targets[0], values[3:5, :, 0:4, 4:8])
    np.testing.assert_array_equal(part.wide[0, :, :, 2:, :6], values[1:3, :, 0:6, 2:8])
    assert np.isnan(part.wide[0, :, :, :2]).all()
    assert part.windows.inputs["time"].values.tolist() == [-5, 0]
    assert part.windows.targets["lead"].values.tolist() == [5, 10]


def test_rain_splits_share_no_column_and_are_64_cells_apart():
    spans = sorted((a, b, split) for split, all_of in radar.COLUMNS.items() for a, b in all_of)
    assert all(later[0] - earlier[1] >= 64 for earlier, later in itertools.pairwise(spans))
    assert all((b - a) % 32 == 0 for a, b, _ in spans)


def test_a_window_with_a_hole_or_without_rain_is_left_out():
    r = recipe("rain", TRACK.Run())
    values = np.zeros((r.frames + r.leads, 1, 32, 1728), np.float32)
    values[:, :, :, 1248:1344] = 2  # three test windows of rain
    values[5, 0, 3, 1290] = np.nan  # of which the second was not observed everywhere
    values[r.frames - 1, :, :, 1312:] = 0  # and the third is dry when it is last seen
    found = radar._places(event(values), "rain", "test", r)
    assert [(p.frame, p.column) for p in found] == [(0, 1248)]


def test_of_a_place_of_radar_the_first_and_the_last_window_are_tested_if_they_share_no_frame():
    r = recipe("radar", TRACK.Run())
    (held_out,) = radar._of_split([event(np.full((46, 1, 32, 32), 2, np.float32))], "radar", "test")
    assert held_out["time"].values.tolist() == [*range(30, 46)]
    assert [p.frame for p in radar._places(held_out, "radar", "test", r)] == [0, 8]
    assert [p.frame for p in radar._places(held_out[:-1], "radar", "test", r)] == [0]


def test_of_several_events_the_last_is_held_out_whole():
    events = [event(np.full((n, 1, 4, 4), n, np.float32)) for n in (20, 10, 12)]
    found = {s: radar._of_split(events, "radar-fmi", s) for s in ("train", "val", "test")}
    assert [e.sizes["time"] for e in found["test"]] == [12]
    assert [e.sizes["time"] for e in found["train"]] == [13, 7]
    assert [e.sizes["time"] for e in found["val"]] == [6, 3]
    for train, val in zip(found["train"], found["val"], strict=True):
        assert train["time"].values.max() < val["time"].values.min()


def test_splits_by_time_share_no_frame():
    for spans in (winds.STORM, winds.MONTHS, radar.THIRDS, radar.OTHERS):
        ordered = list(spans.values())
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ordered))


def test_no_window_of_the_storm_lies_over_a_gap_in_time():
    task = TRACK.tasks(TRACK.Grid(tasks=("storm",)))[0]
    splits = winds.splits(task, TRACK.Run(), None)
    starts = [int(str(w)[7:11]) for w in splits.train.windows.inputs["window"].values]
    assert not any(t <= gap < t + 7 for t in starts for gap in (16, 35))


def test_windows_of_the_wind_that_are_tested_share_no_month():
    task = TRACK.tasks(TRACK.Grid(tasks=("wind",)))[0]
    splits = winds.splits(task, TRACK.Run(), None)
    for part, n in ((splits.val, 8), (splits.test, 24)):
        names = [str(w).split("/")[1].split("-", 1) for w in part.windows.inputs["window"].values]
        starts = {at: sorted(int(t[1:]) for t, of in names if of == at) for _, at in names}
        assert len(names) == n
        assert all(b - a >= 8 for of in starts.values() for a, b in itertools.pairwise(of))


def wet_everywhere(dataset):
    """An event of 46 frames, as large as the test part of `rain` wants, covered and wet in every cell."""
    shape = (46, 1, 64, 1728) if dataset == "rain" else (46, 1, 96, 80)
    time = np.datetime64("2019-06-10", "ns") + np.arange(46) * np.timedelta64(radar.minutes(dataset), "m")
    return frames.event(
        np.full(shape, 2, np.float32), name="event", units="mm/h", components=["rain"], time=time
    )


def split_of(dataset, monkeypatch):
    source = winds if dataset in winds.DATA else radar
    if source is radar:
        monkeypatch.setattr(frames, "read", lambda name: (wet_everywhere(dataset),))
    (task,) = TRACK.tasks(TRACK.Grid(tasks=(dataset,)))
    return source.splits(task, TRACK.Run(), None)


@pytest.mark.parametrize("dataset", ["storm", "wind", "rain", "radar"])
def test_windows_of_two_blocks_forecast_no_cell_of_the_same_frame(dataset, monkeypatch):
    """Nor, of places of radar, the same cell of any frame."""
    r, splits = recipe(dataset, TRACK.Run()), split_of(dataset, monkeypatch)
    for part in (splits.val, splits.test):
        names = part.windows.inputs["window"].values
        places = [tuple(map(int, re.findall(r"[tyx](\d{4})", str(n).rpartition("/")[2]))) for n in names]
        for (a, of_a), (b, of_b) in itertools.combinations(zip(places, part.groups, strict=True), 2):
            if of_a == of_b:
                continue
            apart = abs(a[1] - b[1]) >= r.size or abs(a[2] - b[2]) >= r.size
            assert apart or (dataset != "radar" and abs(a[0] - b[0]) >= r.leads), (a, b)


def test_how_many_windows_and_blocks_are_tested(monkeypatch):
    found = {d: split_of(d, monkeypatch) for d in ("storm", "radar")}
    assert [str(w) for w in found["storm"].test.windows.inputs["window"].values] == [
        f"storm/t{t:04d}-y0000-x0000" for t in (46, 50, 54)
    ]
    assert len(found["storm"].val.windows) == 1
    # Six places of 32 x 32 cells fit beside each other, of which each has two windows.
    assert (len(found["radar"].test.windows), len(set(found["radar"].test.groups))) == (12, 6)


def test_windows_over_a_gap_and_events_of_another_step_are_named_and_counted(monkeypatch, caplog):
    whole = wet_everywhere("radar")
    slow = whole.assign_coords(time=whole["time"][0] + 3 * (whole["time"] - whole["time"][0])).rename("slow")
    monkeypatch.setattr(frames, "read", lambda name: (slow, whole.isel(time=[*range(36), *range(37, 46)])))
    (task,) = TRACK.tasks(TRACK.Grid(tasks=("radar",)))
    with caplog.at_level("INFO", logger="bench.data"):
        radar.splits(task, TRACK.Run(), None)
    assert "radar: the event slow is left out: its frames are 30 minutes apart, expected 10" in caplog.text
    # Seven frames before the gap hold no window of eight, nine after it hold two; without it there were nine.
    assert "radar: test: 7 of 9 windows in time lie over a gap and are left out" in caplog.text
    assert "radar: train" not in caplog.text


def test_windows_are_thinned_over_all_stretches_together(monkeypatch):
    """A gap in time makes two stretches: there are not twice as many windows."""
    whole = wet_everywhere("radar")
    several = (whole, whole.isel(time=[*range(20), *range(22, 46)]))
    monkeypatch.setattr(frames, "read", lambda name: several)
    monkeypatch.setitem(settings.RECIPES, "radar-bom", recipe("radar", TRACK.Run(windows=5)))
    (task,) = TRACK.tasks(TRACK.Grid(tasks=("radar-bom",)))
    assert len(radar.splits(task, TRACK.Run(), None).test.windows) == 5
