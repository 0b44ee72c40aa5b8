"""Two bouncing digits: what the sequences show, that no digit is shown in two parts, and how they move."""

import numpy as np
import pytest

from bench.data.catalog import CATALOG
from bench.data.fields import bouncing, frames


@pytest.fixture(scope="module")
def last():
    return bouncing.sequences("test")


def test_no_part_shows_a_digit_of_another():
    shown = [set(bouncing.shown(part).tolist()) for part in bouncing.SEQUENCES]
    assert [len(s) for s in shown] == [4_000, 500, 500]
    assert len(set.union(*shown)) == 5_000


def test_sequences_are_fields_with_their_coordinates(last):
    assert last.dims == ("sequence", "time", "component", "y", "x")
    assert last.shape == (64, 12, 1, 32, 32)
    assert last.attrs == {"units": "1", "part": "test"}
    assert last.dtype == np.float32
    assert 0 <= float(last.min()) < float(last.max()) <= 1


def test_they_are_the_same_every_time(last):
    assert bouncing.sequences.__wrapped__("test").identical(last)
    assert not np.array_equal(last, bouncing.sequences("val"))


def test_a_digit_between_pixels_keeps_its_ink():
    digit = np.pad(np.random.default_rng(0).random((14, 14)).astype(np.float32), 1)
    for place in ((0, 0), (18, 18), (3.25, 17.5)):
        picture = np.zeros((32, 32), np.float32)
        bouncing._draw(picture, digit, np.array(place))
        assert picture.sum() == pytest.approx(digit.sum(), rel=1e-5)
        rows, columns = np.indices(picture.shape)
        inside = np.indices(digit.shape)
        for axis, all_, own in ((0, rows, inside[0]), (1, columns, inside[1])):
            center = (picture * all_).sum() / picture.sum()
            assert center == pytest.approx(place[axis] + (digit * own).sum() / digit.sum() - 1, rel=1e-4)


def test_digits_move_by_one_to_three_pixels_a_frame_and_never_leave(monkeypatch):
    places = []
    monkeypatch.setattr(bouncing, "SEQUENCES", {"train": 5, "val": 1, "test": 1})
    monkeypatch.setattr(bouncing, "_draw", lambda picture, digit, place: places.append(place))
    bouncing.sequences.__wrapped__("train")
    path = np.array(places).reshape(5, bouncing.FRAMES, 2, 2)
    assert path.min() >= 0
    assert path.max() <= 18
    steps = np.linalg.norm(np.diff(path, axis=1), axis=-1)
    # A step with a reflection in it is shorter than the others; the longest of a digit is its speed.
    assert (steps.max(1) >= 1).all()
    assert (steps <= 3 + 1e-9).all()


def test_every_sequence_is_an_event_of_its_part():
    events = frames.read("bouncing-digits")
    assert len(events) == 1_128
    assert events[0].dims == frames.DIMS
    assert [e.attrs["part"] for e in events[::100]] == ["train"] * 10 + ["val", "test"]


def test_the_catalogue_says_that_they_are_generated():
    assert "generated" in CATALOG["bouncing-digits"].title
    assert CATALOG["bouncing-digits"].open().fingerprint() == bouncing.fingerprint()
