"""The track `ood` from outside: its tasks, what an answer has to be, and what the scorer makes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bench.contract import SHEET_COLUMNS, AnswerError, BenchError, Task
from bench.data.images import coop, image_folders
from bench.suite import Suite
from bench.tracks.common.pictures import in_memory
from bench.tracks.ood import metrics, settings
from bench.tracks.ood.data import LabelledPictures, Target, Truth
from bench.tracks.ood.track import TRACK

TASK = Task(name="shift-noto", params={"setting": "shift", "dataset": "emoji", "target": "noto"})
NAMES = ("ant", "bee", "cat", "dog", "elk")


def paper_grid():
    suite = Suite.read(Path(__file__).parents[3] / "bench.yaml")
    return settings.Grid(**suite.tracks["ood"].profiles["paper"].grid)


# ------------------------------------------------------------------------------------------------------ tasks


def test_the_laptop_has_every_artist_in_every_setting():
    tasks = TRACK.tasks(settings.Grid())
    assert [t.name for t in tasks] == [
        f"{s}-{a}" for s in ("shift", "open", "wild") for a in ("openmoji", "noto", "fluent-3d")
    ]
    assert all(t.params["dataset"] == "emoji" for t in tasks)
    stamps = TRACK.tasks(settings.Grid(wild=("emoji", "stamps")))[-1]
    assert stamps.name == "wild-stamps"
    assert stamps.params == {"setting": "wild", "dataset": "stamps", "target": "stamps"}


def test_a_target_is_one_observation_in_whatever_setting():
    grid = settings.Grid(wild=("emoji", "stamps"))
    of = {t.name: t for t in TRACK.tasks(grid)}
    assert len(of) == 10
    assert {t.data for t in of.values()} == {"openmoji", "noto", "fluent-3d", "stamps"}
    assert of["shift-noto"].data == of["open-noto"].data == of["wild-noto"].data
    assert of["shift-noto"].stream(1) == of["wild-noto"].stream(1) != of["wild-openmoji"].stream(1)
    assert [t.group for t in of.values()] == ["shift"] * 3 + ["open"] * 3 + ["wild"] * 4
    photos = {t.name: t.data for t in TRACK.tasks(paper_grid())}
    assert photos["shift-office-home-real-world"] == photos["wild-office-home-real-world"]
    assert photos["open-imagenet"] == photos["imagenet"] != photos["imagenet-v2"]
    assert photos["shift-pacs-photo"] != photos["shift-pacs-sketch"]


def test_what_is_claimed_of_clipood_and_by_how_much():
    fine_tuning, wise_ft = TRACK.claims
    assert (fine_tuning.rows, fine_tuning.over) == (("clipood",), ("fine-tune",))
    assert (wise_ft.rows, wise_ft.over) == (("clipood",), ("wise-ft",))
    assert fine_tuning.paper.value == pytest.approx(0.786 - 0.767)
    assert wise_ft.paper is None
    assert not wise_ft.of_paper


def test_the_papers_tasks_are_all_there():
    tasks = TRACK.tasks(paper_grid())
    by = {s: [t for t in tasks if t.params["setting"] == s] for s in ("shift", "open", "wild", "variant")}
    assert len(by["shift"]) == 22  # leave-one-out runs of the five DomainBed sets
    assert {t.params["dataset"] for t in by["open"]} == set(coop.OPEN_CLASS)
    assert len(by["open"]) == 11
    wild = [(t.params["dataset"], t.params["target"]) for t in by["wild"]]
    assert wild == [(d, t) for d in ("office-home", "domain-net") for t in image_folders.domains(d)]
    assert [t.name for t in by["variant"]] == [
        "imagenet", "imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r",
    ]  # fmt: skip
    assert len({t.name for t in tasks}) == len(tasks) == 48
    assert "wild-office-home-real-world" in {t.name for t in tasks}
    assert "shift-pacs-art-painting" in {t.name for t in tasks}


def test_only_the_targets_asked_for():
    tasks = TRACK.tasks(settings.Grid(targets=("noto", "openmoji")))
    assert len(tasks) == 6
    assert {t.params["target"] for t in tasks} == {"noto", "openmoji"}
    grid, run = TRACK.smoke()
    assert [t.name for t in TRACK.tasks(grid)] == ["shift-noto"]
    assert run.steps <= 3


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"shift": ("emojis",)}, r"grid\.shift: nothing is named 'emojis'; did you mean 'emoji'\?"),
        ({"shift": ("office_home",)}, "did you mean 'office-home'"),
        ({"open": ("pacs",)}, r"grid\.open: nothing is named 'pacs'"),
        ({"variant": ("imagenet-v3",)}, "did you mean 'imagenet-v2'"),
        ({"targets": ("notto",)}, r"grid\.targets: nothing is named 'notto'; did you mean 'noto'"),
        ({"shift": (), "open": (), "wild": (), "targets": ("noto",)}, "so there is no target"),
    ],
)
def test_a_mistake_in_the_grid_names_the_nearest(grid, words):
    with pytest.raises(BenchError, match=words):
        TRACK.tasks(settings.Grid(**grid))


def test_every_task_has_a_recipe():
    tasks = [*TRACK.tasks(paper_grid()), *TRACK.tasks(settings.Grid(wild=("emoji", "stamps")))]
    for t in tasks:
        assert settings.recipe(t.params["setting"], t.params["dataset"], settings.Run()).steps > 0


def test_the_board_says_what_the_model_has_seen_and_that_it_is_not_clip():
    said = " ".join(TRACK.notes([TASK]).values())
    for word in ("not CLIP", "ImageNet", "Twemoji", "none of an evaluation family", "icons"):
        assert word in said
    photo = Task(name="shift-pacs-photo", params={"setting": "shift", "dataset": "pacs", "target": "photo"})
    assert list(TRACK.notes([photo])) == ["splits"]


# ---------------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("base", "new", "expected"),
    [(0.839, 0.745, 0.789), (0.6934, 0.7422, 0.7170), (0.5, 0.5, 0.5), (1, 0, 0), (0, 0, 0), (1, 1, 1)],
)
def test_harmonic_mean_of_known_values(base, new, expected):
    assert metrics.harmonic(base, new) == pytest.approx(expected, abs=5e-4)


def test_harmonic_mean_of_what_diverged_is_not_a_number():
    for pair in ((np.nan, 0.5), (0.5, np.nan), (np.nan, np.nan)):
        assert np.isnan(metrics.harmonic(*pair))


def test_calibration_error_is_that_of_a_plain_loop():
    rng = np.random.default_rng(1)
    sure = np.concatenate([rng.random(500), np.arange(16) / 15])  # also on every edge, 0 and 1 among them
    right = (rng.random(516) < sure**2).astype(float)
    expected = 0.0
    for b in range(15):
        low, high = b / 15, (b + 1) / 15
        of = [i for i, c in enumerate(sure) if low < c <= high or (b == 0 and c == 0)]
        if of:
            expected += len(of) / 516 * abs(right[of].mean() - sure[of].mean())
    assert metrics.calibration_error(sure, right) == pytest.approx(expected)
    assert metrics.calibration_error(np.ones(4), np.ones(4)) == 0
    assert metrics.calibration_error(np.ones(4), np.zeros(4)) == 1
    assert metrics.calibration_error(np.full(4, 0.75), np.array([1.0, 1, 1, 0])) == pytest.approx(0)


def test_confidence_is_the_softmax_of_the_largest():
    logits = np.array([[1.0, 2.0, 3.0], [1e4, 0.0, 0.0], [5.0, 5.0, 5.0]])
    expected = [np.exp(3) / np.exp([1, 2, 3]).sum(), 1, 1 / 3]
    assert metrics.confidence(logits) == pytest.approx(expected)


# ------------------------------------------------------------------------------------------------------ score


def shown(y, first=0):
    """Pictures whose red is the number of their class: an oracle can read it."""
    y = np.asarray(y)
    images = np.zeros((len(y), 4, 4, 3), np.uint8)
    images[..., 0] = y[:, None, None]
    ids = np.array([f"p{first + i}" for i in range(len(y))])
    domain = np.zeros(len(y), np.int64)
    return LabelledPictures(inputs=in_memory(images, 4, 0.7), y=y, domain=domain, ids=ids)


TARGET_Y = np.array([0, 0, 0, 0, 1, 2, 3, 3, 4, 4])


def truth(setting="shift", base=5, target=TARGET_Y, further=()):
    targets = (Target("main", shown(target)), *(Target(f"also{i}", shown(y)) for i, y in enumerate(further)))
    return Truth(setting=setting, names=NAMES, base=base, val=shown([0, 1, 2, 2], 100), targets=targets)


class Oracle:
    """Reads the class off the picture; ``wrong``: classes that it takes for the next name in the list."""

    def __init__(self, wrong=()):
        self.wrong, self.asked = set(wrong), []

    def __call__(self, images, names):
        self.asked.append((len(images), names))
        assert images.dtype == np.uint8
        assert images.shape[1:] == (4, 4, 3)
        logits = np.zeros((len(images), len(names)), np.float32)
        for row, true in zip(logits, images[:, 0, 0, 0], strict=True):
            at = names.index(NAMES[true])
            row[(at + 1) % len(names) if int(true) in self.wrong else at] = 50
        return logits


def score(predict, of, **more):
    return TRACK.score(TASK, {"predict": predict, **more}, of, ())


def test_a_perfect_answer():
    oracle = Oracle()
    got = score(oracle, truth(), parameters=12, seconds_per_step=0.5)
    assert got.metrics == {
        "accuracy": 1, "balanced": 1, "calibration_error": pytest.approx(0, abs=1e-9), "val_accuracy": 1,
        "val_balanced": 1, "base": None, "new": None, "harmonic": None, "parameters": 12,
        "seconds_per_step": 0.5,
    }  # fmt: skip
    assert {k.removeprefix("val_") for k in got.metrics} == {m.name for m in TRACK.metrics}
    assert oracle.asked == [(4, NAMES), (10, NAMES)]


def test_a_constant_answer_gets_its_class():
    for chosen, n in ((0, 4), (4, 2), (2, 1)):
        got = score(lambda x, names, c=chosen: np.tile(np.eye(len(names))[c], (len(x), 1)), truth())
        assert got.metrics["accuracy"] == pytest.approx(n / 10)
        assert got.metrics["balanced"] == pytest.approx(1 / 5)
        assert got.metrics["parameters"] is None
    flat = score(lambda x, names: np.zeros((len(x), len(names))), truth())
    assert flat.metrics["calibration_error"] == pytest.approx(abs(0.4 - 1 / 5))


def test_open_asks_base_among_base_names_and_new_among_new_names():
    oracle = Oracle(wrong={3})
    got = score(oracle, truth("open", base=3)).metrics
    assert oracle.asked == [(4, NAMES[:3]), (6, NAMES[:3]), (4, NAMES[3:])]
    assert (got["base"], got["new"]) == (1, 0.5)
    assert got["harmonic"] == pytest.approx(2 / 3)
    assert got["accuracy"] == pytest.approx(0.8)  # over all pictures: not the mean of base and new
    assert got["balanced"] == pytest.approx(4 / 5)


def test_the_wild_asks_all_names_of_all_pictures():
    oracle = Oracle(wrong={0, 4})
    got = score(oracle, truth("wild", base=3)).metrics
    assert oracle.asked == [(4, NAMES[:3]), (10, NAMES)]
    assert got["base"] == pytest.approx(2 / 6)
    assert got["new"] == 0.5
    assert got["harmonic"] == pytest.approx(0.4)
    assert got["accuracy"] == pytest.approx(0.4)
    assert got["val_accuracy"] == pytest.approx(0.75)


def test_a_variant_is_asked_among_the_classes_that_it_holds():
    oracle = Oracle(wrong={1})
    got = score(oracle, truth("variant", target=np.array([1, 4, 4, 3, 1])))
    assert oracle.asked == [(4, NAMES), (5, ("bee", "dog", "elk"))]
    assert got.metrics["accuracy"] == pytest.approx(3 / 5)
    assert got.metrics["balanced"] == pytest.approx(2 / 3)
    assert got.metrics["base"] is None


def test_units_are_the_pictures_and_their_mean_is_the_accuracy():
    for setting, base in (("shift", 5), ("open", 3), ("wild", 3)):
        got = score(Oracle(wrong={3}), truth(setting, base=base))
        units = got.units["accuracy"]
        assert units.values.mean() == pytest.approx(got.metrics["accuracy"])
        assert units.values.tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 1, 1]
        assert units.ids.tolist() == [f"p{i}" for i in range(10)]


def test_units_are_grouped_by_family_and_a_free_target_brings_its_sheet():
    of = truth()
    assert score(Oracle(), of).views == {}
    target = dataclasses.replace(of.targets[0].labelled, groups=np.array([f"f{i // 2}" for i in range(10)]))
    printable = dataclasses.replace(of, targets=(Target("main", target),), redistributable=True)
    got = score(Oracle(), printable)
    assert got.units["accuracy"].groups.tolist() == target.groups.tolist()
    sheet = got.views["accuracy"]
    assert (sheet.dtype, sheet.shape) == (np.uint8, (40, 40 * SHEET_COLUMNS, 3))
    assert sheet[20, 20::40, 0].tolist() == [*TARGET_Y, *[255] * 10]


def test_the_shares_of_an_average_are_kept_relative_to_equal_ones():
    got = score(Oracle(), truth(), average=[0.5, 0.25, 0.25]).series["average"]
    assert (got.dims, got["step"].values.tolist()) == (("step",), [0, 1, 2])
    assert got.values.tolist() == [1.5, 0.75, 0.75]
    long = score(Oracle(), truth(), average=np.full(5001, 1 / 5001)).series["average"]
    assert long.values == pytest.approx(np.ones(101))
    assert long["step"].values[[0, 1, -1]].tolist() == [0, 50, 5000]
    assert "average" not in score(Oracle(), truth()).series


@pytest.mark.parametrize("average", [[0.5, 0.2], [[0.5, 0.5]], [1.0], "half", [np.nan, 1.0]])
def test_wrong_shares_say_what_was_expected(average):
    with pytest.raises(AnswerError, match=r"answer\['average'\]"):
        score(Oracle(), truth(), average=average)


def test_further_targets_are_shown_and_not_ranked():
    of = truth(further=(np.array([3, 3, 0, 1]), np.array([2])))
    got = score(Oracle(wrong={3}), of)
    by_target = got.series["accuracy"]
    assert by_target["target"].values.tolist() == ["main", "also0", "also1"]
    assert by_target.values.tolist() == pytest.approx([0.8, 0.5, 1])
    assert got.metrics["accuracy"] == pytest.approx(0.8)
    assert len(got.units["accuracy"].ids) == 10


def test_many_pictures_are_asked_in_parts_and_none_is_lost():
    y = np.arange(600) % 5
    oracle = Oracle(wrong={2})
    got = score(oracle, truth(target=y))
    assert [n for n, _ in oracle.asked] == [4, 256, 256, 88]
    assert got.metrics["accuracy"] == pytest.approx(0.8)
    assert got.units["accuracy"].values.tolist() == (y != 2).astype(float).tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_give_nan(bad):
    def spoilt(images, names):
        logits = Oracle()(images, names)
        logits[images[:, 0, 0, 0] == 4, 0] = bad
        return logits

    got = score(spoilt, truth("open", base=3))
    for name in ("accuracy", "balanced", "new", "harmonic"):
        assert np.isnan(got.metrics[name]), name
    assert got.metrics["base"] == got.metrics["val_accuracy"] == 1
    assert got.metrics["calibration_error"] is None
    assert got.units == {}
    assert np.isnan(got.series["accuracy"].values[0])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, n: None, "the answer is a function, expected a mapping"),
        ({}, "lacks 'predict', expected a function of pictures and class names"),
        ({"predict": 3}, r"answer\['predict'\] is 3, expected a function of pictures"),
        ({"predikt": Oracle()}, r"answer\['predikt'\] is no entry of an answer; did you mean 'predict'\?"),
        ({"predict": Oracle(), "paramters": 3}, "did you mean 'parameters'"),
        ({"predict": Oracle(), "parameters": "many"}, r"answer\['parameters'\] is 'many', expected a number"),
        ({"predict": Oracle(), "seconds_per_step": [1, 2]}, r"answer\['seconds_per_step'\] is \[1, 2\]"),
        (
            {"predict": lambda x, n: np.zeros(len(x))},
            r"predict gave for validation has shape \(4,\), expected \(4, 5\)",
        ),
        ({"predict": lambda x, n: np.zeros((len(n), len(x)))}, r"shape \(5, 4\)"),
        ({"predict": lambda x, n: None}, r"shape \(\)"),
        ({"predict": lambda x, n: [list(n)] * len(x)}, "predict gave for validation is no array of numbers"),
        ({"predict": lambda x, n: [[0.0], [0.0, 1.0]]}, "no array of numbers"),
    ],
)
def test_wrong_answers_say_what_was_expected(answer, words):
    with pytest.raises(AnswerError, match=words):
        TRACK.score(TASK, answer, truth(), ())


def test_a_wrong_shape_on_the_target_names_it():
    def forgetful(images, names):
        return Oracle()(images, names)[: min(len(images), 5)]

    with pytest.raises(AnswerError, match=r"for main has shape \(5, 5\), expected \(10, 5\)"):
        score(forgetful, truth())


def test_torch_numbers_lists_and_halves_are_numbers():
    import torch

    for convert in (torch.from_numpy, lambda a: a.tolist(), lambda a: a.astype(np.float16)):
        got = score(lambda x, names, c=convert: c(Oracle(wrong={3})(x, names)), truth())
        assert got.metrics["accuracy"] == pytest.approx(0.8)
    needy = torch.zeros(1, requires_grad=True)
    with pytest.raises(AnswerError, match="no array of numbers"):
        score(lambda x, names: torch.from_numpy(Oracle()(x, names)) + needy, truth())


def test_what_is_given_has_no_field_for_a_target():
    from bench.tracks.ood.data import OodData

    assert {f.name for f in dataclasses.fields(OodData)} == {
        "setting", "dataset", "recipe", "classes", "domains", "template", "train", "val", "encoder",
    }  # fmt: skip
