"""The track `dit_transfer` from outside: its tasks, what a method is given, what is made of its answer."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
from collections import Counter
from pathlib import Path

import dit_transfer_reference as reference
import numpy as np
import pytest
import torch

from bench.contract import AnswerError, BenchError, Task
from bench.data.transfer import sets as transfer_sets
from bench.engine.context import RunContext, RunInputs, RunStageContext, set_seed
from bench.nn import distances
from bench.suite import Suite
from bench.tracks.dit_transfer import scoring, settings, stages, training
from bench.tracks.dit_transfer.data import Pixels, TransferData
from bench.tracks.dit_transfer.nets import tuning
from bench.tracks.dit_transfer.nets.dit import DiT, DiTConfig
from bench.tracks.dit_transfer.pretrain import Recipe as Pretraining
from bench.tracks.dit_transfer.sources import laptop
from bench.tracks.dit_transfer.track import TRACK

ROOT = Path(__file__).parents[3]
TASK = Task(name="flags", params={"target": "flags"}, data="flags", group="far")
SMOKE = TRACK.smoke()[1]
#: All flags, compared on as many pictures as the Fréchet distance needs.
WHOLE = settings.Run(samples=120, chain=2, bank=8, switches=(750, 250))
#: All but those that differ in a number from one of these.
ROWS = [r for r in reference.ROWS if not any(x in r for x in ("power-", "/no-", "/tau-", "/psi-", "p2"))]


def grid(profile):
    suite = Suite.read(ROOT / "bench.yaml")
    return settings.Grid(**suite.tracks["dit_transfer"].profiles[profile].grid)


@pytest.fixture(scope="module", autouse=True)
def one_style():
    """The source's pictures of one artist, which need no drawing, in place of three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_sets, "SOURCE_STYLES", ("noto",))
        patch.setattr(laptop, "SOURCE_PICTURES", 150)
        yield


@pytest.fixture(scope="module")
def inputs(one_style, tmp_path_factory):
    """Run settings -> the track's stages of flags, built as the engine would, each once."""
    folder = tmp_path_factory.mktemp("stages")

    def build(run):
        found = {}
        for stage in (*TRACK.stages(TASK, run), *stages.bank(TASK, run)):
            out = folder / stage.address
            if not out.is_dir():
                out.mkdir()
                log = logging.getLogger("test")
                stage.build(RunStageContext(out, stage.params, 0, 0, "cpu", log, dict(found)))
            found[stage.name] = out
        return RunInputs(None, "cpu", found)

    return build


@pytest.fixture(scope="module")
def flags(inputs):
    """All flags by part, as the stage has them."""
    found = transfer_sets.read("flags", stage=inputs(WHOLE).stage)
    return {p: found.images[found.part == p] for p in ("test", "train")}


@pytest.fixture(scope="module")
def truth(inputs):
    return TRACK.truth(TASK, WHOLE, inputs(WHOLE))


@pytest.fixture(scope="module")
def small(inputs):
    """What is truth of the smoke settings."""
    return TRACK.truth(TASK, SMOKE, inputs(SMOKE))


def showing(pictures, **more):
    """An answer that draws these, whatever the label."""
    return {"sample": lambda labels, draw: pictures[: len(labels)], **more}


def noise(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def scored(answer, of):
    return TRACK.score(TASK, answer, of, ()).metrics


# ------------------------------------------------------------------------------------------------------ tasks


def test_the_tasks_of_both_profiles():
    assert [t.name for t in TRACK.tasks(grid("laptop"))] == [
        "fluent-flat", "fluent-3d", "line-art", "flags", "avatars", "photos", "relief", "earth",
    ]  # fmt: skip
    assert [t.name for t in TRACK.tasks(grid("paper"))] == [
        "food101", "sun397", "df20-mini", "caltech101", "cub-200-2011", "artbench-10", "oxford-flowers",
        "stanford-cars",
    ]  # fmt: skip
    (task,) = TRACK.tasks(TRACK.smoke()[0])
    assert task == TASK


def test_near_and_far_targets_are_apart_and_each_is_a_data_set_of_its_own():
    tasks = TRACK.tasks(grid("laptop"))
    assert [t.name for t in tasks if t.group == "near"] == ["fluent-flat", "fluent-3d", "line-art"]
    assert {t.group for t in tasks} == {"near", "far"}
    assert {t.group for t in TRACK.tasks(grid("paper"))} == {""}
    assert [t.data for t in tasks] == [t.name for t in tasks]
    assert len({t.stream(0) for t in tasks}) == len(tasks)


def test_the_claims_are_of_rows_and_groups_that_there_are():
    groups = {t.group for t in TRACK.tasks(grid("laptop"))}
    for claim in TRACK.claims:
        assert {*claim.rows, *claim.over} <= set(reference.ROWS)
        assert claim.group is None or claim.group in groups
        assert claim.scale == "log ratio"
    assert math.exp(TRACK.claims[0].paper.value) == pytest.approx(1 - 0.246)


@pytest.mark.parametrize("name", ["average", "schedule"])
def test_an_unknown_average_or_schedule_names_the_nearest(name):
    known = {"average": "last-third", "schedule": "cosine"}[name]
    assert getattr(settings.recipe("earth", settings.Run(**{name: known})), name) == known
    with pytest.raises(BenchError, match=rf"run\.{name} is '{known}s', expected .*did you mean '{known}'"):
        settings.recipe("earth", settings.Run(**{name: f"{known}s"}))


@pytest.mark.parametrize(
    ("target", "nearest"), [("flag", "flags"), ("line_art", "line-art"), ("food-101", "food101")]
)
def test_an_unknown_target_names_the_nearest(target, nearest):
    with pytest.raises(BenchError, match=rf"targets: nothing is named '{target}'; did you mean '{nearest}'"):
        TRACK.tasks(settings.Grid(targets=("icons", target)))


def test_own_numbers_replace_those_of_the_recipe():
    plain = settings.recipe("earth", settings.Run())
    assert plain == settings.recipe("icons", settings.Run())
    assert settings.recipe("food101", settings.Run()) == settings.PAPER != plain
    own = settings.recipe("earth", settings.Run(steps=7, small_lr=0.5, chain=4))
    assert own == dataclasses.replace(plain, steps=7, small_lr=0.5, chain=4)


def test_the_board_says_what_stands_in_for_what():
    laptop, paper = (TRACK.notes(TRACK.tasks(grid(p))) for p in ("laptop", "paper"))
    assert "not KID and FID" in laptop["distance"]
    assert "pre-trained in the suite" in laptop["model"]
    assert "says no more" in paper["assumed"]
    assert "model" not in paper


def test_without_the_weights_it_is_said_how_they_are_made(tmp_path, monkeypatch):
    assert TRACK.missing(TASK, settings.Run()) is None
    before = TRACK.fingerprint(TASK, settings.Run())
    address = stages.bank(TASK, SMOKE)[0].address
    monkeypatch.setattr(laptop, "WEIGHTS", tmp_path / "dit_lite.safetensors")
    said = TRACK.missing(TASK, settings.Run())
    assert f"no file {tmp_path / 'dit_lite.safetensors'}" in said
    assert "bench artifacts build dit-lite" in said
    (tmp_path / "dit_lite.safetensors").write_bytes(b"others")
    assert TRACK.fingerprint(TASK, settings.Run()) != before
    assert stages.bank(TASK, SMOKE)[0].address != address


def test_one_bank_serves_all_targets_and_features_are_of_one():
    others = [Task(name=t, params={"target": t}) for t in ("flags", "relief")]
    assert len({stages.bank(t, SMOKE)[0].address for t in others}) == 1
    assert len({TRACK.stages(t, SMOKE)[-1].address for t in others}) == 2
    more = dataclasses.replace(SMOKE, bank=9)
    assert stages.bank(TASK, more)[0].address != stages.bank(TASK, SMOKE)[0].address


# ------------------------------------------------------------------------------------------ what is given


def digests(pictures):
    return Counter(hashlib.sha256(p.tobytes()).hexdigest() for p in pictures)


@pytest.mark.parametrize(
    "target", ["flags", *(pytest.param(t, marks=pytest.mark.slow) for t in ("fluent-3d", "relief", "photos"))]
)
def test_a_method_is_given_the_training_pictures_and_none_that_is_held_out(target, tmp_path):
    task = Task(name=target, params={"target": target})
    (stage,) = transfer_sets.stages(target)
    stage.build(RunStageContext(tmp_path, stage.params, 0, 0, "cpu", logging.getLogger("test")))
    at = RunInputs(None, "cpu", {stage.name: tmp_path})
    data = TRACK.load(task, settings.Run(), at)
    every = transfer_sets.read(target, stage=at.stage)
    mine = digests(data.x.images)
    assert mine == digests(every.images[every.part == "train"])
    assert not mine.keys() & digests(every.images[every.part == "test"]).keys()
    assert data.y.shape == (len(data.x),)
    assert data.y.dtype == np.int64
    assert set(data.y.tolist()) == set(range(len(data.classes)))
    assert data.classes == every.classes
    np.testing.assert_array_equal(data.y, every.label[every.part == "train"])
    few = TRACK.load(task, settings.Run(pictures=10), at)
    assert (len(few.x), len(few.y)) == (10, 10)
    assert digests(few.x.images).keys() <= mine.keys()
    assert {f.name for f in dataclasses.fields(TransferData)} == {
        "target", "classes", "x", "y", "recipe", "pretrained", "bank", "decode",
    }  # fmt: skip


def test_pictures_are_capped_on_either_side(small, truth):
    assert SMOKE.pictures == len(small.test) == len(small.train) == len(small.source) == 24
    assert (len(truth.test), len(truth.train), len(truth.source)) == (131, 131, 150)
    assert truth.test.shape[1] == distances.FEATURES


def test_what_is_given_is_as_the_network_sees_it(inputs, flags):
    data = TRACK.load(TASK, WHOLE, inputs(WHOLE))
    rows = np.array([5, 0, 77])
    x = data.x.batch(rows, torch.Generator())
    assert x.shape == (3, 3, 32, 32)
    assert x.dtype == torch.float32
    assert -1 <= x.min() < -0.5 < 0.5 < x.max() <= 1
    np.testing.assert_array_equal(data.decode(x), flags["train"][rows])
    bank = data.bank(inputs(WHOLE).stage(stages.BANK))
    assert isinstance(bank, Pixels)
    assert bank.images.shape == (8, 32, 32, 3)
    assert len(digests(bank.images)) == 8


def test_the_pre_trained_network_is_fresh_at_each_call_and_knows_no_class(inputs):
    data = TRACK.load(TASK, SMOKE, inputs(SMOKE))
    one, other = data.pretrained(), data.pretrained()
    assert one.null == len(data.classes)
    table = one.labels.weight
    assert torch.equal(table, table[-1:].expand_as(table))
    with torch.no_grad():
        for p in one.parameters():
            p.zero_()
    assert all(p.abs().max() > 0 for p in other.parameters())
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), data.pretrained().parameters(), strict=True)
    )


# ---------------------------------------------------------------------------------------------------- oracles


def test_held_out_pictures_are_best_training_pictures_next_others_far_off(truth, flags, inputs):
    rng = np.random.default_rng(0)
    held, trained = (flags[p][rng.permutation(131)] for p in ("test", "train"))
    others = transfer_sets.source().images
    others = others[rng.permutation(len(others))[:120]]
    same, near, source, random = (scored(showing(p), truth) for p in (held, trained, others, noise(120)))

    error = distances.kernel_distance(truth.test, truth.train).error
    # Of the very pictures that are held out the unbiased estimate is below 0.
    assert -4 * error < same["kid_lite0"] < 0 < near["kid_lite0"] + 3 * error < 10 * error
    assert min(source["kid_lite0"], random["kid_lite0"]) > 30 * error
    assert near["val_kid_lite0"] < 0 < same["val_kid_lite0"] + error
    assert same["precision"] == 1
    assert same["recall"] > 0.95
    assert same["recall"] > near["recall"] > 0.7
    assert 0.7 < near["precision"] < 1
    assert random["recall"] < 0.05
    assert source["recall"] < near["recall"] - 0.2
    assert source["precision"] < 0.6
    assert abs(source["source_kid"]) < 0.2 * min(m["source_kid"] for m in (same, near, random))
    # The floor is what real pictures of the target have; what is held out is below it.
    assert 0 <= same["fd_lite0"] < same["fd_floor"]
    assert same["fd_floor"] < 1.3 * near["fd_lite0"] < 3 * same["fd_floor"]
    assert min(source["fd_lite0"], random["fd_lite0"]) > 3 * same["fd_floor"]
    assert len({m["fd_floor"] for m in (same, near, source, random)}) == 1
    assert same["fid"] is None


def test_noise_is_not_near_real_pictures(truth):
    assert scored(showing(noise(120)), truth)["precision"] < 0.5


def test_what_the_pre_trained_network_draws_is_nearer_to_its_source_than_noise(truth, inputs):
    data = TRACK.load(TASK, dataclasses.replace(WHOLE, chain=20), inputs(WHOLE))
    some = dataclasses.replace(truth, labels=truth.labels[:25])
    found = scored(training.answer(data, data.pretrained()), some)
    assert found["source_kid"] < 0.8 * scored(showing(noise(25)), some)["source_kid"]


def test_new_pictures_of_the_target_are_at_no_distance(truth, flags):
    """Half of the held-out pictures against the other half: inside the error, and 0 inside of two."""
    rows = np.random.default_rng(1).permutation(131)
    half = dataclasses.replace(truth, test=truth.test[rows[:71]], labels=truth.labels[:60])
    found = scored(showing(flags["test"][rows[71:]]), half)
    error = distances.kernel_distance(half.test, truth.test[rows[71:]]).error
    assert abs(found["kid_lite0"]) < 2 * error
    assert found["precision"] > 0.7
    assert found["recall"] > 0.5


def test_the_frechet_distance_is_at_one_number_of_pictures_a_target(truth, small, flags):
    assert scoring.frechet_size(truth) == 120
    assert scoring.frechet_size(dataclasses.replace(truth, labels=truth.labels[:70])) == 70
    assert scoring.frechet_size(dataclasses.replace(truth, test=truth.test[:80])) == 80
    # The floor takes two halves of both parts together.
    assert scoring.frechet_size(dataclasses.replace(truth, train=truth.train[:70])) == 100
    assert scoring.frechet_size(small) == 20
    few = scored(showing(flags["test"]), small)
    assert few["fd_lite0"] is few["fd_floor"] is None
    assert isinstance(few["kid_lite0"], float)
    enough = dataclasses.replace(truth, labels=truth.labels[:65])
    assert scored(showing(flags["test"]), enough)["fd_lite0"] is not None
    assert (
        scored(showing(flags["test"]), dataclasses.replace(truth, labels=truth.labels[:64]))["fd_lite0"]
        is None
    )


def test_without_a_source_nothing_is_forgotten(small):
    found = scored(showing(noise(20)), dataclasses.replace(small, source=None))
    assert found["source_kid"] is None
    assert isinstance(found["kid_lite0"], float)


def test_every_metric_is_declared_and_the_ranking_one_is_there(small):
    found = scored(showing(noise(20), parameters=12, seconds_per_step=0.5), small)
    assert {k.removeprefix("val_") for k in found} == {m.name for m in TRACK.metrics}
    assert (found["parameters"], found["seconds_per_step"]) == (12, 0.5)
    assert scored(showing(noise(20)), small)["parameters"] is None
    assert {t.ranks_by for t in [Suite.read(ROOT / "bench.yaml").tracks["dit_transfer"]]} <= found.keys()


def test_the_units_are_those_of_every_picture_and_their_mean_is_the_distance(truth, flags):
    score = TRACK.score(TASK, showing(flags["train"]), truth, ())
    units, n = score.units["kid_lite0"], len(truth.labels)
    assert units.values.mean() == pytest.approx(score.metrics["kid_lite0"], abs=1e-9)
    assert units.ids.tolist() == [f"real-{i}" for i in range(131)] + [f"sample-{i}" for i in range(n)]
    # A sampled picture stands alone, and held-out ones of a family together, of this target alone.
    assert units.groups[131:].tolist() == units.ids[131:].tolist()
    assert units.groups[:131].tolist() == [f"flags: {g}" for g in truth.groups]
    assert len(set(truth.groups)) < 131
    other = TRACK.score(TASK, showing(noise(n)), truth, ()).units["kid_lite0"]
    assert other.ids.tolist() == units.ids.tolist()


# ----------------------------------------------------------------------------------------- what is asked for


@pytest.mark.parametrize("n", [100, 512, 7])
def test_labels_are_as_frequent_as_in_training(n):
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 4], [60, 25, 10, 5]))
    labels = scoring.evaluation_labels(y, 5, n)
    assert labels.shape == (n,)
    assert labels.dtype == np.int64
    assert np.abs(np.bincount(labels, minlength=5) - n * np.array([60, 25, 10, 0, 5]) / 100).max() < 1
    np.testing.assert_array_equal(labels, scoring.evaluation_labels(y[::-1], 5, n))
    if n > 7:
        assert not np.array_equal(labels, np.sort(labels))


def test_labels_and_noise_are_the_same_whoever_draws_and_whenever(small, inputs):
    """A sampler that spends the generator, spoils its labels and reseeds everything moves no other's."""
    seen = []

    def greedy(*args):
        labels, draw = args[-2:]
        seen.append((labels.tolist(), torch.randn(50, generator=draw)))
        labels[:] = -1
        torch.manual_seed(99)
        np.random.seed(99)
        return noise(len(labels))

    set_seed(3)
    again = TRACK.truth(TASK, SMOKE, inputs(SMOKE))
    TRACK.score(TASK, {"sample": greedy}, small, ())
    TRACK.score(TASK, {"sample": greedy, "relay": greedy}, again, ())
    assert len(seen) == 3  # two samplers and a relay of one switch
    for labels, drawn in seen:
        assert labels == small.labels.tolist() == again.labels.tolist() == [0] * 20
        assert torch.equal(drawn, seen[0][1])


def test_the_same_answer_scores_the_same(small):
    found = [scored(showing(noise(20)), small) for _ in range(2)]
    assert found[0] == found[1]


# ------------------------------------------------------------------------------------------- wrong answers


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([1], "the answer is a list, expected a mapping with 'sample'"),
        (noise, "the answer is a function, expected a mapping"),
        ({}, "lacks 'sample', expected a function of labels and a generator"),
        ({"sample": 3}, r"answer\['sample'\] is 3, expected a function of labels and a generator"),
        ({"sampel": 1}, r"answer\['sampel'\] is no entry of an answer; did you mean 'sample'"),
        (showing(noise(20), secs_per_step=1), "did you mean 'seconds_per_step'"),
        (showing(noise(19)), r"sample\(\) gave \(19, 32, 32, 3\) uint8, expected \(20, height, width, 3\)"),
        (showing(noise(20) / 255), r"gave \(20, 32, 32, 3\) float64, .* uint8"),
        (showing(noise(20)[..., :1]), r"gave \(20, 32, 32, 1\) uint8"),
        (showing(noise(20)[..., 0]), r"gave \(20, 32, 32\) uint8"),
        (showing(noise(20).transpose(0, 3, 1, 2)), r"gave \(20, 3, 32, 32\) uint8, expected \(20, height"),
        ({"sample": lambda labels, draw: None}, r"gave \(\) object"),
        (showing(noise(20), parameters="many"), r"answer\['parameters'\] is 'many', expected a number or"),
        (showing(noise(20), seconds_per_step=[1]), r"\['seconds_per_step'\] is \[1\], expected a number"),
        (
            showing(noise(20), relay=lambda switch, labels, draw: noise(3)),
            r"relay\(\) gave \(3, 32, 32, 3\) uint8, expected \(20,",
        ),
        (showing(noise(20), relay=7), r"answer\['relay'\]"),
        ({"sample": lambda labels, draw: [noise(1)[0], noise(1)[0, :5]] * 10}, r"sample\(\) gave"),
    ],
)  # fmt: skip
def test_a_wrong_answer_says_what_was_expected(answer, words, small):
    with pytest.raises(AnswerError, match=words):
        TRACK.score(TASK, answer, small, ())


def test_a_network_that_is_not_finite_diverges(small, inputs):
    data = TRACK.load(TASK, SMOKE, inputs(SMOKE))
    model = data.pretrained()
    with torch.no_grad():
        model.net.proj_out_2.bias.fill_(torch.nan)
    score = TRACK.score(TASK, training.answer(data, model), small, ())
    assert not np.isfinite(score.metrics["kid_lite0"])
    assert score.units == {}
    assert {k.removeprefix("val_") for k in score.metrics} == {m.name for m in TRACK.metrics}


def test_the_view_shows_the_first_twenty_pictures_in_a_line(small):
    pictures = noise(50)
    shown = scoring.sheet(pictures)
    assert shown.shape == (32, 20 * 32, 3)
    np.testing.assert_array_equal(shown[:, 32:64], pictures[1])
    np.testing.assert_array_equal(shown[:, -32:], pictures[19])
    assert (scoring.sheet(pictures[:3])[:, 3 * 32 :] == 255).all(), "white where there are fewer"
    large = np.repeat(np.repeat(pictures[:2], 8, axis=1), 8, axis=2)
    np.testing.assert_array_equal(
        scoring.sheet(large)[:, :64:2][::2, :32], pictures[0], "256 pixels become 64"
    )
    score = TRACK.score(TASK, showing(pictures[:20]), small, ())
    np.testing.assert_array_equal(score.views["samples"], scoring.sheet(pictures[:20]))


def test_a_relay_is_scored_at_each_switch(truth, flags):
    """Held-out pictures down to 250, noise at 750; at 0 the tuned network draws it all."""
    asked, some = [], dataclasses.replace(truth, labels=truth.labels[:40])

    def relay(switch, labels, draw):
        asked.append(switch)
        return (flags["test"] if switch == 250 else noise(131))[: len(labels)]

    score = TRACK.score(TASK, showing(flags["train"], relay=relay), some, ())
    curve = score.series["kid_lite0"]
    assert curve.dims == ("switch",)
    assert curve.switch.values.tolist() == [0, 250, 750]
    assert asked == [250, 750]
    assert curve.sel(switch=0).item() == score.metrics["kid_lite0"]
    assert curve.sel(switch=250).item() < curve.sel(switch=0).item() < curve.sel(switch=750).item()
    assert TRACK.score(TASK, showing(flags["train"]), some, ()).series == {}


# ----------------------------------------------------------------------------- rows with the laptop's network


@pytest.fixture
def run_row(inputs, tmp_path):
    """A row's data, answer and context on the smoke task, as the engine would call it."""

    def run(row, **hp):
        at = inputs(SMOKE)
        data = TRACK.load(TASK, SMOKE, at)
        ctx = RunContext(
            seed=0, device="cpu", amp=False, workdir=tmp_path, run=SMOKE, log=logging.getLogger("test"),
            scorer=lambda answer, history: TRACK.score(TASK, answer, TRACK.truth(TASK, SMOKE, at), history),
            stages=at.stages,
        )  # fmt: skip
        set_seed(0)
        method = reference.ROWS[row]
        assert {s.name for s in method.stages_of(TASK, SMOKE)} <= at.stages.keys()
        return method.fn(data, {**method.hp_of(row), **hp}, ctx), ctx

    return run


#: Trained numbers of the laptop's network for one class, and how: 4 blocks of width 128, 48 outputs a patch.
TABLE = 2 * 128
SMALL = {
    "bitfit": ("bitfit", {}, 128 + 2 * 128 + 4 * (384 + 128 + 512 + 128 + 768) + 256 + 48 + TABLE),
    "lora/r8": ("lora", {"rank": 8}, 4 * 8 * (128 + 384) + TABLE),
    "lora/r16": ("lora", {"rank": 16}, 4 * 16 * (128 + 384) + TABLE),
    "adapter/parallel": ("adapter", {"place": "parallel"}, 4 * (2 * 64 * 128 + 64 + 128) + TABLE),
    "adapter/sequential": ("adapter", {"place": "sequential"}, 4 * (2 * 64 * 128 + 64 + 128) + TABLE),
    "vpt-deep": ("prompts", {}, 4 * 64 * 128 + TABLE),
    "difffit": ("difffit", {}, 8624 + 9 * 2 * 128 + 2 * 6 * 128),
    "diff-tuning/difffit": ("difffit", {}, 8624 + 9 * 2 * 128 + 2 * 6 * 128),
    "diff-tuning/released-difffit": ("difffit", {}, 8624 + 9 * 2 * 128 + 2 * 6 * 128),
    "diff-tuning/lora": ("lora", {}, 4 * 8 * (128 + 384) + TABLE),
}


def counted(kind, own):
    """What tuning says of a network of the laptop's shape that has no numbers."""
    recipe = Pretraining()
    config = DiTConfig(
        size=transfer_sets.SIDE, classes=1, layers=recipe.layers, width=recipe.width, heads=recipe.heads,
        patch=recipe.patch,
    )  # fmt: skip
    with torch.device("meta"):
        return sum(p.numel() for p in tuning.tune(DiT(config), kind, **own).values())


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("row", ROWS)
def test_every_row_answers_the_smoke_task_with_the_laptops_network(row, run_row, small):
    answer, ctx = run_row(row)
    score = TRACK.score(TASK, answer, small, ())
    assert all(np.isfinite(v) for v in score.metrics.values() if v is not None)
    assert score.units["kid_lite0"].values.mean() == pytest.approx(score.metrics["kid_lite0"])
    if row == "untuned":
        assert (score.metrics["parameters"], score.metrics["seconds_per_step"], ctx.curve) == (0, None, [])
        return
    kind, own, by_hand = SMALL.get(row, ("full", {}, None))
    assert score.metrics["parameters"] == counted(kind, own)
    assert by_hand in (None, score.metrics["parameters"])
    assert 0 < score.metrics["seconds_per_step"] < math.inf
    assert [c["step"] for c in ctx.curve] == [1, 2]
    assert score.views["samples"].shape == (32, 640, 3)
    assert ("kid_lite0" in score.series) == (row == "full/looks")
    assert (len(ctx.history) > 0) == row.endswith("/looks")
    if row == "full/looks":
        assert score.series["kid_lite0"].switch.values.tolist() == [0, 500]


def test_every_row_has_its_place_above_and_the_reference_is_one():
    assert set(SMALL) < set(ROWS)
    assert TRACK.reference in ROWS
    suite = Suite.read(ROOT / "bench.yaml").tracks["dit_transfer"]
    core = {r for r in suite.rows.core if "*" not in r}
    assert core <= set(ROWS)


def test_the_laptops_weights_are_those_of_the_recipe():
    (embedded,) = TRACK.embedded()
    config, recipe = laptop.pretrained().config, Pretraining()
    assert embedded.file == laptop.WEIGHTS
    assert (config.layers, config.width, config.heads, config.patch, config.size) == (
        recipe.layers, recipe.width, recipe.heads, recipe.patch, transfer_sets.SIDE,
    )  # fmt: skip
    assert config.classes == len(transfer_sets.source().classes)
