"""The wind and rain that ship here: their sizes, what is masked, and the figures of their origin."""

import numpy as np
import pytest

from bench.data.catalog import CATALOG
from bench.data.fields import embedded, frames
from bench.errors import BenchError

pytest.importorskip("h5netcdf")


@pytest.mark.parametrize(
    ("name", "shape", "units", "first", "last"),
    [
        ("monthly-winds", (132, 2, 73, 144), "m s-1", "1982-01-01", "1992-12-01"),
        ("storm-winds", (62, 2, 33, 36), "m s-1", "1996-01-05T00", "1996-01-20T18"),
        ("stage-iv", (23, 1, 118, 87), "mm/h", "2018-09-13T19", "2018-09-14T17"),
    ],
)
def test_each_is_one_event(name, shape, units, first, last):
    (event,) = frames.read(name)
    assert event.dims == frames.DIMS
    assert event.shape == shape
    assert event.dtype == np.float32
    assert event.attrs["units"] == units
    assert event["time"].values[0] == np.datetime64(first)
    assert event["time"].values[-1] == np.datetime64(last)


def test_monthly_winds_have_no_gaps():
    (winds,) = frames.read("monthly-winds")
    assert not np.isnan(winds).any()
    assert len(frames.unbroken(winds)) == 1
    assert float(winds.min()) == pytest.approx(-25.55, abs=0.006)
    assert winds["y"].values.tolist() == np.arange(-90, 91, 2.5).tolist()


def test_the_storm_keeps_its_mask_and_no_window_lies_over_its_two_empty_frames():
    (storm,) = frames.read("storm-winds")
    unseen = np.isnan(storm.values)
    assert (unseen == unseen[0, 0]).all(), "the same points in each frame and component"
    assert unseen.mean() == pytest.approx(0.189, abs=1e-3)
    assert [part.sizes["time"] for part in frames.unbroken(storm)] == [17, 19, 26]


def test_stage_iv_has_the_rain_of_its_origin():
    (rain,) = frames.read("stage-iv")
    assert float(rain.min()) == 0
    assert float(rain.max()) == pytest.approx(164, abs=1)
    assert rain["lat"].dims == ("y", "x")


def test_they_answer_what_a_data_source_is_asked():
    source = CATALOG["storm-winds"].open()
    assert source.missing() is None
    assert len(source.fingerprint()) == 16
    assert "62 time, 2 component, 33 y, 36 x in m s-1" in source.verify().summary()


def test_a_truncated_file_is_named(tmp_path, monkeypatch):
    whole = embedded.path("stage-iv").read_bytes()
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    (tmp_path / "stage-iv.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchError, match=r"stage-iv\.nc: cannot be read"):
        embedded.read.__wrapped__("stage-iv")


def test_without_the_packages_that_open_them_the_command_is_said(monkeypatch):
    monkeypatch.setattr(embedded, "_NEEDS", {"no-such-package": ()})
    assert "pip install 'gridbench[laptop]'" in CATALOG["stage-iv"].open().missing()


def test_an_unknown_unit_or_times_out_of_order_are_refused():
    values = np.zeros((2, 1, 3, 3))
    with pytest.raises(BenchError, match="unknown unit 'knots'"):
        frames.event(values, name="e", units="knots", components=("u",), time=[0, 1])
    with pytest.raises(BenchError, match="do not ascend"):
        frames.event(values, name="e", units="1", components=("u",), time=[1, 1])
    with pytest.raises(BenchError, match="no data set of fields"):
        frames.read("digits")


def test_a_box_with_an_unseen_cell_is_unseen_and_the_rest_is_left_out():
    values = np.arange(20.0).reshape(4, 5)
    values[3, 3] = np.nan
    np.testing.assert_array_equal(frames.boxes(values, 2), [[3, 5], [13, np.nan]])
