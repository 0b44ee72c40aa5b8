"""What the rows of `ood` train with: the order of pictures, checkpoints, rates, recipes, SWAD's valley."""

from __future__ import annotations

import dataclasses
import math
import weakref

import numpy as np
import ood_reference as reference
import pytest
import torch
from torch import nn

from bench.contract import BenchError
from bench.engine.context import set_seed
from bench.nn.averaging import BetaAverage, UniformAverage
from bench.tracks.ood import settings, training
from bench.tracks.ood.data import LabelledPictures
from bench.tracks.ood.nets import prompts, valley
from bench.tracks.ood.nets.valley import LossValley


def of_domains(*sizes):
    domain = np.repeat(np.arange(len(sizes)), sizes)
    n = len(domain)
    return LabelledPictures(inputs=None, y=np.zeros(n, np.int64), domain=domain, ids=np.arange(n).astype(str))


# ------------------------------------------------------------------------------------- the pictures of a step


def test_every_step_has_as_many_pictures_of_every_domain():
    train = of_domains(30, 7, 50)
    steps = list(training._rows(train, 12, 3, seed=0, steps=40))
    assert len(steps) == 40
    for rows in steps:
        assert np.bincount(train.domain[rows], minlength=3).tolist() == [4, 4, 4]
        assert len(set(rows.tolist())) > 4
    uneven = next(training._rows(train, 11, 3, seed=0, steps=1))
    assert np.bincount(train.domain[uneven]).tolist() == [4, 4, 3]


def test_a_domain_is_gone_through_before_a_picture_comes_again():
    train = of_domains(20, 12)
    steps = list(training._rows(train, 8, 2, seed=3, steps=30))
    for d, n in ((0, 20), (1, 12)):
        seen = np.concatenate([rows[train.domain[rows] == d] for rows in steps])
        # Within a step the order is mixed, so a pass may end inside of one: counted after whole steps.
        for passes in range(4, len(seen) + 1, 4):
            often = np.bincount(seen[:passes], minlength=32)[train.domain == d]
            assert often.max() - often.min() <= 1, (d, passes)
        first, second = seen[:n], seen[n : 2 * n]
        assert sorted(first) == sorted(second)
        assert first.tolist() != second.tolist()


def test_the_order_is_of_the_seed_alone():
    train = of_domains(30, 30)
    runs = [list(training._rows(train, 6, 2, seed, 20)) for seed in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    shorter = list(training._rows(train, 6, 2, 0, 5))
    assert np.array_equal(runs[0][:5], shorter)


def test_the_first_few_pictures_of_a_step_are_of_every_domain():
    """A row that can use only a few of them (CoCoOp) would otherwise learn from the first domain alone."""
    train = of_domains(30, 30, 30)
    few = np.concatenate([rows[:2] for rows in training._rows(train, 36, 3, seed=0, steps=120)])
    counts = np.bincount(train.domain[few], minlength=3)
    assert counts.min() > 50


def test_a_domain_without_a_picture_is_an_error_that_names_it():
    data = reference.given()
    train = dataclasses.replace(data.train, domain=np.zeros_like(data.train.domain))
    steps = training._batches(reference.encoder(), dataclasses.replace(data, train=train), 0, 0, 1, "cpu")
    with pytest.raises(BenchError, match=r"no training picture of 'plain'"):
        next(steps)


def test_crops_of_a_step_are_the_same_whenever_it_comes():
    data, model = reference.given(steps=9), reference.encoder()
    whole = list(training._batches(model, data, 4, 0, 9, "cpu"))
    torch.rand(100)
    rest = list(training._batches(model, data, 4, 6, 9, "cpu"))
    assert len(rest) == 3
    for (x, y), (again, y_again) in zip(whole[6:], rest, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(y, y_again)
    other = next(training._batches(model, data, 5, 0, 1, "cpu"))[0]
    assert not torch.equal(whole[0][0], other)
    assert whole[0][0].shape == (8, 3, reference.SIDE, reference.SIDE)


# -------------------------------------------------------------------------------------------------- the loop


class Killed(Exception):
    pass


def beta_average(theta, data, model):
    average = BetaAverage(theta, data.recipe.steps, 0.5)
    return average, average.update


def loss_valley(theta, data, model):
    kept = LossValley(theta, lambda: rising(theta), every=2, begin=2, end=3, tolerance=1.001)
    return kept, kept.update


def rising(theta):
    """Looks that rise with the weights' way from 0: one early valley, whose end is soon there."""
    return 2 + float(sum(p.detach().abs().sum() for p in theta[-1:]) * 300 % 0.5)


def fitted(folder, make, die_at=None, steps=17):
    """Parameters, averaged parameters and losses of a training that may be killed in a step's loss."""
    data, model = reference.given(steps=steps), reference.encoder()
    ctx = reference.context(folder, data, seed=1, checkpoints=folder / "checkpoints")
    set_seed(1)
    theta = model.unfreeze_visual()
    keep, after = make(theta, data, model)
    plain, done = training.text_loss(model, data), 0

    def loss(x, y):
        nonlocal done
        done += 1
        if done == die_at:
            raise Killed
        return plain(x, y) + 0 * torch.rand(1)[0]  # a row's own use of the global generator

    training.fit(model, [(theta, 1e-3)], loss, data, ctx, after=after, state=[keep])
    last = [p.detach().clone() for p in theta]
    keep.assign()
    return last, [p.detach().clone() for p in theta], [c["loss"] for c in ctx.curve], done


@pytest.mark.parametrize("make", [beta_average, loss_valley])
@pytest.mark.parametrize("die_at", [6, 14, 16])
def test_a_killed_training_goes_on_to_the_same_weights(make, die_at, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT", 5)
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = fitted(tmp_path / "whole", make)
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", make, die_at)
    again = fitted(tmp_path / "killed", make)
    assert again[3] == 17 - (die_at - 1) // 5 * 5
    for a, b in zip([*whole[0], *whole[1]], [*again[0], *again[1]], strict=True):
        assert torch.equal(a, b)
    assert whole[2] == again[2]
    assert not all(torch.equal(a, b) for a, b in zip(whole[0], whole[1], strict=True))


def test_the_tower_stays_in_evaluation_mode_and_its_statistics_never_change(tmp_path):
    data, model = reference.given(steps=5), reference.encoder()
    before = {k: v.clone() for k, v in model.named_buffers()}
    assert "visual.1.running_mean" in before
    theta, plain, modes = model.unfreeze_visual(), training.text_loss(model, data), set()

    def loss(x, y):
        modes.update(m.training for m in model.modules())
        return plain(x, y)

    training.fit(model, [(theta, 1e-3)], loss, data, reference.context(tmp_path, data))
    assert modes == {False}
    assert all(torch.equal(v, before[k]) for k, v in model.named_buffers())


def test_the_rates_fall_along_a_cosine_to_0_and_decay_is_the_runs(tmp_path, monkeypatch):
    seen = []

    class Watched(torch.optim.AdamW):
        def step(self, closure=None):
            seen.append([(g["lr"], g["weight_decay"], g["betas"]) for g in self.param_groups])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    data, model = reference.given(steps=20), reference.encoder()
    theta = model.unfreeze_visual()
    ctx = reference.context(tmp_path, data, run=settings.Run(weight_decay=0.03))
    training.fit(model, [(theta[:2], 1e-3), (theta[2:], 5e-5)], training.text_loss(model, data), data, ctx)
    assert len(seen) == 20
    for t, groups in enumerate(seen):
        half = (1 + math.cos(math.pi * t / 20)) / 2
        assert [lr for lr, _, _ in groups] == pytest.approx([1e-3 * half, 5e-5 * half])
        assert {(wd, b) for _, wd, b in groups} == {(0.03, (0.9, 0.999))}
    assert seen[-1][0][0] < 0.01 * seen[0][0][0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(bad, tmp_path):
    data, model = reference.given(steps=15), reference.encoder()
    ctx, plain, done = reference.context(tmp_path, data), training.text_loss(model, data), []
    theta = model.unfreeze_visual()

    def loss(x, y):
        done.append(len(done))
        return plain(x, y) * (bad if len(done) == 4 else 1)

    seconds = training.fit(model, [(theta, 1e-3)], loss, data, ctx)
    assert len(done) == 4
    assert [c["step"] for c in ctx.curve] == [1, 2, 3, 4]
    assert not math.isfinite(ctx.curve[-1]["loss"])
    assert 0 < seconds < math.inf


def test_it_learns(tmp_path):
    data, model = reference.given(steps=80, lr=3e-3, batch=20), reference.encoder()
    ctx = reference.context(tmp_path, data)
    before = training.val_loss(model, data)
    theta = model.unfreeze_visual()
    training.fit(model, [(theta, data.recipe.lr)], training.text_loss(model, data), data, ctx)
    assert training.val_loss(model, data) < 0.5 * before
    assert [c["step"] for c in ctx.curve] == list(range(4, 81, 4))


# ----------------------------------------------------------------------------------------------- the recipes

#: The released scripts: (setting, data sets) -> batch, lr, steps, lambda, beta.
SHEET = [
    ("shift", "pacs vlcs terra-incognita", 36, 5e-6, 5_000, 0.3, 0.5),
    ("shift", "office-home", 36, 1e-5, 5_000, 0.3, 0.5),
    ("shift", "domain-net", 60, 1e-5, 10_000, 0.3, 0.5),
    ("open", "imagenet fgvc-aircraft", 36, 5e-6, 5_000, 0.3, 0.1),
    ("open", "stanford-cars sun397", 36, 5e-6, 2_500, 0.3, 0.1),
    ("open", "ucf101", 36, 5e-6, 1_000, 0.3, 0.1),
    ("open", "caltech101 oxford-pets flowers102 food101 dtd eurosat", 36, 5e-6, 500, 0.3, 0.1),
    ("wild", "office-home", 36, 3e-6, 5_000, 0.1, 0.1),
    ("wild", "domain-net", 60, 5e-6, 10_000, 0.1, 0.5),
]


@pytest.mark.parametrize(("setting", "names", "batch", "lr", "steps", "lam", "beta"), SHEET)
def test_recipes_are_those_of_the_released_scripts(setting, names, batch, lr, steps, lam, beta):
    for name in names.split():
        r = settings.recipe(setting, name, settings.Run())
        assert (r.batch, r.lr, r.steps, r.margin, r.beta) == (batch, lr, steps, lam, beta)
        paper = settings.recipe(setting, name, settings.Run(source="paper"))
        assert (paper.batch, paper.margin) == (36, 0.3)
        assert (paper.lr, paper.steps, paper.beta) == (lr, steps, beta)


def test_the_sheet_names_every_recipe_of_the_papers_data_sets():
    named = {(s, d) for s, names, *_ in SHEET for d in names.split()}
    ours = {(s, d) for s, d in settings.RECIPES if s != "variant" and d not in ("emoji", "stamps")}
    assert ours == named


def test_the_runs_own_numbers_come_before_the_recipe():
    run = settings.Run(steps=7, batch=9, lr=0.5, source="paper")
    r = settings.recipe("wild", "domain-net", run)
    assert (r.steps, r.batch, r.lr, r.margin, r.beta) == (7, 9, 0.5, 0.3, 0.5)


# ---------------------------------------------------------------------------------------------- SWAD's valley


def algorithm_1(losses, begin, end, tolerance):
    """First and last look of the valley, from 0, as algorithm 1 of SWAD has it; None if it never begins."""
    first = bound = None
    for i in range(len(losses)):
        if bound is None:
            window = losses[max(0, i - begin + 1) : i + 1]
            if len(window) == begin and window[0] == min(window):
                first, bound = i - begin + 1, tolerance * sum(window) / begin
        elif i >= end - 1 and min(losses[i - end + 1 : i + 1]) > bound:
            return first, i - end
    return None if first is None else (first, None)


class Walk:
    """Weights along a random walk, and a loss that is looked up."""

    def __init__(self, losses, every, more, **how):
        rng = np.random.default_rng(len(losses))
        self.parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
        self.stored, looks = [], iter(losses)
        self.valley = LossValley(self.parameters, lambda: next(looks), every=every, **how)
        for _ in range(len(losses) * every + more):
            with torch.no_grad():
                for p in self.parameters:
                    p.copy_(torch.from_numpy(rng.normal(size=p.shape)))
            self.stored.append([p.detach().clone().double() for p in self.parameters])
            self.valley.update()
            self.each()

    def each(self):
        pass

    def mean(self, first, last):
        return [torch.stack(ps).mean(0) for ps in zip(*self.stored[first:last], strict=True)]


def check_valley(losses, every=3, more=0, begin=3, end=6, tolerance=1.3):
    walk = Walk(losses, every, more, begin=begin, end=end, tolerance=tolerance)
    found = algorithm_1(losses, begin, end, tolerance)
    if found is None:
        expected = walk.stored[-1]
    else:
        first, last = found
        expected = walk.mean(first * every, None if last is None else (last + 1) * every)
    walk.valley.assign()
    for p, e in zip(walk.parameters, expected, strict=True):
        assert (p.detach().double() - e).abs().max() < 1e-6, (losses, found)
    return found


def test_a_valley_is_found_and_left():
    assert check_valley([5, 4, 3, 2, 1, 1.1, 1.2, 1, 9, 9, 9, 9, 9, 9, 9]) == (4, 7)
    assert check_valley([5, 4, 1, 1.1, 1.2, 9, 9, 1, 9, 9, 9, 9, 9, 9], more=2) == (2, 7)


def test_a_valley_that_is_never_left_lasts_to_the_end():
    assert check_valley([3, 2, 1, 1.1, 1.2, 1, 1, 9, 9, 9], more=2) == (2, None)
    assert check_valley([1, 1, 1]) == (0, None)


def test_without_a_valley_the_last_weights_stay():
    assert check_valley([9, 8, 7, 6, 5, 4, 3], more=1) is None
    assert check_valley([1, 2]) is None
    assert check_valley([], more=2) is None


def test_looks_of_the_beginning_may_already_be_behind_the_valley():
    assert check_valley([1, 1, 9, 9, 9, 9], begin=3, end=4, tolerance=1.2) == (0, 1)
    assert check_valley([1, 1, 9, 9], begin=4, end=2, tolerance=1.1) is not None


def test_valleys_of_made_up_losses_are_those_of_algorithm_1():
    rng, kinds = np.random.default_rng(0), []
    for _ in range(250):
        n = int(rng.integers(1, 25))
        losses = np.round(np.abs(rng.normal(1, rng.choice([0.1, 0.5, 2]), n)) + rng.choice([0, 1]), 2)
        losses += np.linspace(rng.choice([0, 3]), 0, n) + np.linspace(0, rng.choice([0, 4]), n)
        how = {
            "begin": int(rng.integers(1, 5)), "end": int(rng.integers(1, 7)),
            "tolerance": rng.choice([1, 1.1, 1.3]),
        }  # fmt: skip
        found = check_valley(losses.tolist(), every=3, more=int(rng.integers(0, 3)), **how)
        kinds.append("none" if found is None else "open" if found[1] is None else "ended")
    assert min(kinds.count(k) for k in ("none", "open", "ended")) > 20


def test_memory_does_not_grow_with_the_steps(monkeypatch):
    alive, most = weakref.WeakSet(), 0

    class Counted(UniformAverage):
        def __init__(self, parameters):
            super().__init__(parameters)
            alive.add(self)

    class Counting(Walk):
        def each(self):
            nonlocal most
            most = max(most, len(alive))

    monkeypatch.setattr(valley, "UniformAverage", Counted)
    how = {"begin": 3, "end": 6, "tolerance": 1.3}
    up, down = np.linspace(1, 2, 200), np.linspace(2, 1, 200)
    saw = 1 + np.arange(200) % 6  # out of the valley for less than `end` looks, again and again
    for losses in (up, down, np.ones(200), saw):
        most = 0
        walk = Counting(losses.tolist(), 1, 0, **how)
        assert most <= 6 + 3, "more averages than those that wait, the valley, the window and a spare one"
        del walk


# --------------------------------------------------------------------------------------------- learnt prompts


@pytest.mark.parametrize("template", ["{} texture.", "{}"])
def test_a_template_that_begins_with_the_name_still_has_words_to_learn(template):
    model, data = reference.encoder(), reference.given()
    learnt = prompts.Context(model, dataclasses.replace(data, template=template))
    assert torch.equal(learnt.vectors, model.word_embeddings("a photo of a"))
    got = learnt.features(data.classes, learnt.vectors)
    rest = template.removeprefix("{}")
    assert torch.allclose(
        got, model.text_features([f"a photo of a {n}{rest}" for n in data.classes]), atol=1e-6
    )


def test_the_context_begins_with_the_words_before_the_name():
    model, data = reference.encoder(), reference.given()
    learnt = prompts.Context(model, data)
    assert torch.equal(learnt.vectors, model.word_embeddings("a photo of a"))
    names = ("red car", "never seen")
    got = learnt.features(names, learnt.vectors)
    assert torch.allclose(got, model.text_features(data.prompts(names)), atol=1e-6)
    got[1].sum().backward()
    assert learnt.vectors.grad.abs().sum() > 0
