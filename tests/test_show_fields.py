"""The script that draws fields as an animation, with which the demonstration `rain-demo` is made."""

import numpy as np
import pytest
from PIL import Image

from bench.data.fields import frames
from scripts import show_fields

pytest.importorskip("h5netcdf")


def test_rain_demo_is_an_animation_of_the_hours_of_one_storm(tmp_path, monkeypatch, capsys):
    (storm,) = frames.read("stage-iv")
    assert storm.sizes["time"] == 23
    monkeypatch.setattr(show_fields.frames, "read", lambda name: (storm[:3],))
    out = tmp_path / "rain.gif"
    assert show_fields.main(["stage-iv", "--out", str(out)]) == 0
    assert "3 frames" in capsys.readouterr().out
    with Image.open(out) as found:
        assert found.n_frames == 3


def test_wind_is_drawn_as_speed_and_what_was_not_observed_is_grey(tmp_path):
    values = np.ones((2, 2, 4, 4))
    values[:, :, 0, 0] = np.nan
    wind = frames.event(values, name="wind", units="m s-1", components=("u", "v"), time=[0, 1])
    show_fields.animate(wind, tmp_path / "wind.gif")
    with Image.open(tmp_path / "wind.gif") as found:
        assert (np.asarray(found.convert("RGB")) == 0xBB).all(-1).any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stage-vi"], "did you mean 'stage-iv'"),
        (["flights"], "no data set of fields"),
        (["stage-iv", "--event", "1"], "has 1 events"),
    ],
)
def test_what_cannot_be_drawn_is_said(words, said, capsys):
    assert show_fields.main(words) == 1
    assert said in capsys.readouterr().err
