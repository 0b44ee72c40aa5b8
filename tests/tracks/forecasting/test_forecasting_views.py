"""What a record of the track keeps to be looked at."""

import dataclasses

import numpy as np
from forecasting_toy import INPUTS, RUN, TASK, blobs

from bench.tracks.forecasting import views
from bench.tracks.forecasting.track import TRACK

SIDE, LEADS = 16, 4


def answer(members):
    """What was observed as every member; the first one is 1 more in its first cell of all."""
    target = TRACK.truth(TASK, RUN, INPUTS).test
    found = np.repeat(target.to_numpy()[:, None], members, axis=1)
    found[:, 0, :, :, 0, 0] += 1
    return blobs().forecast(found)


def line(view, name):
    at = views.LINES.index(name) * SIDE
    assert view.shape == (len(views.LINES) * SIDE, (1 + LEADS) * SIDE, 3)
    return view[at : at + SIDE, :, 0]


def test_shows_what_was_observed_beside_members_spread_and_error_of_one_window():
    truth = TRACK.truth(TASK, RUN, INPUTS)
    found = answer(3)
    view = TRACK.score(TASK, {"test": found}, truth, ()).views["forecast"]
    assert view.dtype == np.uint8
    observed = line(view, "observed")
    assert observed.min() == views.DARKEST
    assert observed.max() == views.BRIGHTEST
    assert (line(view, "member 2")[:, SIDE:] == observed[:, SIDE:]).all()
    assert (line(view, "member 2")[:, :SIDE] == 0).all(), "in the first column only the last input frame"
    assert (line(view, "U") == 0).all(), "no map was given"
    for name in ("spread", "error"):
        shown = line(view, name)[:, SIDE:].reshape(SIDE, LEADS, SIDE)
        assert (shown[0, :, 0] > views.DARKEST).all()
        assert (shown[1:] == views.DARKEST).all(), "members differ in one cell only"


def test_a_deterministic_forecast_has_neither_members_nor_spread_and_a_map_is_shown_as_it_is():
    truth = TRACK.truth(TASK, RUN, INPUTS)
    found = answer(1)
    own = blobs().precision(np.arange(len(found) * LEADS * SIDE**2).reshape(-1, LEADS, SIDE, SIDE))
    view = views.forecast(found, own, truth)
    for name in ("member 1", "member 2", "member 3", "spread"):
        assert (line(view, name) == 0).all()
    assert line(view, "U").max() == views.BRIGHTEST


def test_the_window_is_chosen_by_the_ground_truth_alone_and_what_was_not_observed_is_dark():
    truth = TRACK.truth(TASK, RUN, INPUTS)
    n = views.chosen(truth)
    hidden = truth.test.copy()
    hidden[n, :, :, 3, 5] = np.nan
    truth = dataclasses.replace(truth, test=hidden)
    assert views.chosen(truth) == n
    own = blobs().precision(np.ones((len(hidden), LEADS, SIDE, SIDE)))
    view = views.forecast(answer(2), own, truth)
    for name in ("observed", "U", "error"):
        shown = line(view, name).reshape(SIDE, 1 + LEADS, SIDE)[:, 1:]
        assert (shown[3, :, 5] == 0).all()
        assert (np.delete(shown, 3, axis=0) >= views.DARKEST).all()
