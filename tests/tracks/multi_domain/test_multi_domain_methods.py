"""The rows of `multi_domain` and what they train with: budgets, phases, batches, checkpoints, a toy task."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from itertools import islice

import multi_domain_toy as toy
import numpy as np
import pytest
import torch

from bench.contract import BenchError
from bench.registry import methods_in
from bench.tracks.multi_domain import sampling, training
from bench.tracks.multi_domain.nets import heads
from bench.tracks.multi_domain.nets.heads import MultiHead, Plain, Separate
from bench.tracks.multi_domain.nets.star import Star
from bench.tracks.multi_domain.training import Phase

D_TRAIN = importlib.import_module("bench.methods.d_train")
BASELINES = importlib.import_module("bench.baselines.multi_domain")
FILES = [
    D_TRAIN,
    *(
        importlib.import_module(f"{BASELINES.__name__}.{m.name}")
        for m in pkgutil.iter_modules(BASELINES.__path__)
    ),
]
METHODS = {m.id: m for f in FILES for m in methods_in(f)}
ROWS = [row for m in METHODS.values() for row in m.rows()]


def run(row, data, path, *, seed=0, **changed):
    ctx, scored = toy.context(path, seed=seed)
    declared = METHODS[row.partition("/")[0]]
    return declared.fn(data, {**declared.hp_of(row), **changed}, ctx), ctx, scored


# ------------------------------------------------------------------------------------ the batches of all rows


def drawn(data, shares, steps, seed=0):
    return list(islice(sampling.batches(data, shares, seed), steps))


@pytest.mark.parametrize("sizes", [(900, 90, 10), (500, 500), (40, 30, 20, 10, 5, 3, 2, 90), (7,)])
def test_domains_come_in_proportion_to_their_rows(sizes):
    data, _ = toy.table(sizes, batch=40)
    batches = drawn(data, "natural", 200)
    assert {len(b) for b in batches} == {40}
    counts = np.array([np.bincount(data.train.domain[b], minlength=len(sizes)) for b in batches])
    share = np.array(sizes) / sum(sizes)
    behind = np.cumsum(counts, 0) - 40 * share * np.arange(1, 201)[:, None]
    assert np.abs(behind).max() <= 2 * sampling.CLUMP  # at any time, not only in the end
    assert ((counts == 0) | (counts >= sampling.CLUMP)).all()


def test_balanced_batches_have_as_many_rows_of_every_domain():
    data, _ = toy.table((900, 90, 10), batch=48)
    for rows in drawn(data, "balanced", 20):
        assert np.bincount(data.train.domain[rows]).tolist() == [16, 16, 16]


def test_a_domains_rows_all_come_before_one_comes_again():
    data, _ = toy.table((60, 25), batch=16)
    seen = np.concatenate(drawn(data, "natural", 40))
    for d, n in ((0, 60), (1, 25)):
        mine = seen[data.train.domain[seen] == d]
        for i in range(0, len(mine) - n, n):
            assert len(set(mine[i : i + n])) == n
        assert mine[:n].tolist() != mine[n : 2 * n].tolist()


def test_the_batches_are_of_the_seed_alone():
    data, _ = toy.table((60, 25), batch=16)
    a, b, other = (np.concatenate(drawn(data, "natural", 9, seed)) for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, other)


def test_a_domain_without_a_row_is_an_error_that_names_it():
    data, _ = toy.table((20, 20))
    train = dataclasses.replace(data.train, domain=np.zeros(40, np.int64))
    with pytest.raises(BenchError, match=r"no training example of 'd1'"):
        drawn(dataclasses.replace(data, train=train), "natural", 1)


# ---------------------------------------------------------------------------------------------- the toy, rows


def watched(monkeypatch):
    """Sizes of the batches that are drawn, and one number a step of an optimiser."""
    steps, sizes = [], []
    step, batches = torch.optim.AdamW.step, training._batches

    def stepping(*a, **k):
        steps.append(1)
        return step(*a, **k)

    def drawing(*a):
        for b in batches(*a):
            sizes.append((len(b.x), len(b.y), len(b.domain)))
            yield b

    monkeypatch.setattr(torch.optim.AdamW, "step", stepping)
    monkeypatch.setattr(training, "_batches", drawing)
    return steps, sizes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "images"])
@pytest.mark.parametrize("row", ROWS)
def test_every_row_takes_the_same_steps_with_as_many_rows_and_answers_in_shape(
    row, kind, tmp_path, monkeypatch
):
    data, _ = getattr(toy, kind)((50, 30), steps=7, batch=16)
    steps, sizes = watched(monkeypatch)
    answer, _, _ = run(row, data, tmp_path)
    assert len(steps) == 7
    assert sizes == [(16, 16, 16)] * 7
    for part in ("val", "test"):
        n = len(getattr(data, part))
        assert answer[part].shape == ((n,) if kind == "table" else (n, 3))
        assert np.isfinite(answer[part]).all()
    if kind == "images":
        np.testing.assert_allclose(answer["test"].sum(1), 1, atol=1e-5)
    assert answer["parameters"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_another_seed_gives_another_answer(row, tmp_path):
    """That one seed gives one answer is what `bench check` looks for in every row."""
    data, _ = toy.images((40, 24), steps=5)
    one, other = (run(row, data, tmp_path, seed=s)[0] for s in (1, 2))
    assert not np.array_equal(one["test"], other["test"])


@pytest.mark.slow
@pytest.mark.nightly
def test_opposite_labels_joint_cannot_and_separate_and_d_train_can(tmp_path):
    """The same inputs, labels turned round: without the domain, half is all that can be had."""
    data, y = toy.table(steps=450, lr=5e-3)  # a third of them on a root model, in vain
    worst = {}
    d_train = [f"d-train{v}" for v in ("", "/no-pre-train", "/no-fine-tune", "/mmoe")]
    for row in ("joint", "separate", *d_train):
        answer, _, _ = run(row, data, tmp_path)
        by_domain = toy.accuracy(answer["test"], y, data.test.domain)
        worst[row] = by_domain.min()
        if row == "joint":
            assert abs(by_domain.mean() - 0.5) < 0.05
    assert all(v > 0.95 for row, v in worst.items() if row != "joint"), worst


@pytest.mark.parametrize("row", ["dann", "cdan"])
def test_without_weight_the_discriminator_does_not_reach_the_features(row, tmp_path):
    """Then the row is shared bottom, bit for bit; with weight it is not. (The reversal has its own test.)"""
    data, _ = toy.images((40, 24), steps=12)
    shared = run("shared-bottom", data, tmp_path)[0]["test"]
    assert np.array_equal(run(row, data, tmp_path, weight=0.0)[0]["test"], shared)
    assert not np.array_equal(run(row, data, tmp_path, weight=1.0)[0]["test"], shared)


# ------------------------------------------------------------------------------------------- D-Train's phases


def test_steps_are_divided_in_proportion_and_none_is_lost():
    assert D_TRAIN.divided(300, [1, 1, 1]) == [100, 100, 100]
    assert D_TRAIN.divided(300, [0, 1, 1]) == [0, 150, 150]
    assert D_TRAIN.divided(300, [1, 0, 1]) == [150, 0, 150]
    assert D_TRAIN.divided(300, [1, 1, 0]) == [150, 150, 0]
    assert D_TRAIN.divided(300, [2, 1, 0]) == [200, 100, 0]
    for steps in range(1, 40):
        parts = D_TRAIN.divided(steps, [1, 1, 1])
        assert sum(parts) == steps
        assert max(parts) - min(parts) <= 1


class Looks:
    """What the first network that is made was at each snapshot."""

    def __init__(self, monkeypatch, ctx):
        self.looks = []
        made = []
        plain = MultiHead

        def making(*a, **k):
            made.append(plain(*a, **k))
            return made[-1]

        monkeypatch.setattr(heads, "MultiHead", making)

        def look(ctx, step, answer):
            self.looks.append((step, {k: v.clone() for k, v in made[0].state_dict().items()}))

        monkeypatch.setattr(type(ctx), "snapshot", look)


@pytest.mark.parametrize("experts", [0, 2])
@pytest.mark.parametrize("make", [toy.table, toy.images])
def test_the_third_phase_leaves_all_that_is_shared_bit_for_bit(make, experts, tmp_path, monkeypatch):
    data, _ = make((50, 30), steps=12, batch=16)
    ctx, _ = toy.context(tmp_path)
    watched = Looks(monkeypatch, ctx)
    METHODS["d-train"].fn(data, {**METHODS["d-train"].hp_of("d-train"), "experts": experts}, ctx)
    (first, root), (second, post), (third, tuned) = watched.looks
    assert (first, second, third) == (4, 8, 12)
    psi = [k for k in post if k.startswith("psi.")]
    heads = [k for k in post if k.startswith("heads.")]
    assert psi
    if make is toy.images:
        assert any("running_mean" in k for k in psi)
    assert all(torch.equal(post[k], tuned[k]) for k in psi)
    assert all(not torch.equal(post[k], tuned[k]) for k in heads)
    # The second phase does change what is shared, batch statistics too, and makes a head for each domain.
    changed = {k for k in psi if k in root and not torch.equal(root[k], post[k])}
    assert any("table" in k or "running_mean" in k for k in changed)
    assert sum(k.startswith("heads.0.") for k in root) * 2 == len(heads)


@pytest.mark.parametrize(
    ("row", "third"),
    [("d-train", "balanced"), ("d-train/mmoe", "balanced"), ("d-train/natural-phase-3", "natural")],
)
def test_only_the_third_phase_has_as_many_rows_of_each_domain(row, third, tmp_path, monkeypatch):
    asked = []

    def batches(data, shares, seed):
        asked.append(shares)
        return sampling.batches(data, shares, seed)

    monkeypatch.setattr(training, "batches", batches)
    run(row, toy.table((50, 10), steps=12)[0], tmp_path)
    assert asked == ["natural", "natural", third]


def test_heads_are_tuned_independently(tmp_path):
    """A head's third phase is the same whatever the other domains' labels are."""
    tuned = []
    for flipped in (False, True):
        data, _ = toy.images((50, 30), steps=8)
        if flipped:
            data.train.y[data.train.domain == 1] = 0
        ctx, _ = toy.context(tmp_path)
        body = data.body()
        net = MultiHead(Plain(body), [body.head() for _ in range(2)])
        training.fit(
            net, training.mean_loss(net), data, ctx, phases=[Phase(steps=8, part=lambda n=net: n.heads)]
        )
        tuned.append([p.detach().clone() for h in net.heads for p in h.parameters()])
    same = [torch.equal(a, b) for a, b in zip(*tuned, strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize(
    ("row", "looks"),
    [("d-train", [4, 8, 12]), ("d-train/no-pre-train", [6, 12]), ("d-train/no-post-train", [6, 12]),
     ("d-train/no-fine-tune", [6, 12]), ("d-train/natural-phase-3", [4, 8, 12]),
     ("d-train/mmoe", [4, 8, 12])],
)  # fmt: skip
def test_a_look_at_the_end_of_every_phase_and_the_last_is_the_answer(row, looks, tmp_path):
    data, _ = toy.table((50, 30), steps=12)
    answer, ctx, scored = run(row, data, tmp_path)
    assert [s.step for s in ctx.history] == looks
    assert np.array_equal(scored[-1]["test"], answer["test"])
    assert not np.array_equal(scored[0]["test"], answer["test"])


def test_without_the_second_phase_heads_part_only_in_the_third(tmp_path, monkeypatch):
    data, _ = toy.table((50, 30), steps=12)
    ctx, _ = toy.context(tmp_path)
    watched = Looks(monkeypatch, ctx)
    METHODS["d-train"].fn(data, METHODS["d-train"].hp_of("d-train/no-post-train"), ctx)
    (_, root), (_, tuned) = watched.looks
    assert all(torch.equal(root[k], tuned[k]) for k in root if k.startswith("psi."))
    assert not torch.equal(tuned["heads.0.0.weight"], tuned["heads.1.0.weight"])


# ------------------------------------------------------------------------------------------------- the loop


def test_phases_that_do_not_add_up_are_refused(tmp_path):
    data, _ = toy.table((20, 20), steps=8)
    ctx, _ = toy.context(tmp_path)
    net = Separate([data.body()])
    with pytest.raises(ValueError, match=r"phases of \[3, 4\] steps, expected 8"):
        training.fit(net, training.mean_loss(net), data, ctx, phases=[Phase(steps=3), Phase(steps=4)])


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    data, _ = toy.table((20, 20), steps=40)
    ctx, _ = toy.context(tmp_path)
    net = Separate([data.body()])
    seen = []

    def loss(batch):
        seen.append(batch.progress)
        return training.mean_loss(net)(batch) * float("nan")

    ended = []
    phases = [Phase(steps=20, end=ended.append), Phase(steps=20, end=ended.append)]
    training.fit(net, loss, data, ctx, phases=phases)
    assert len(seen) == 2  # it looks every 20th of the steps
    assert ended == []
    assert np.isnan(training.answer(net, data, ctx)["test"]).any()


def test_stems_and_the_rest_have_their_own_rates_which_fall_to_0(tmp_path, monkeypatch):
    data, _ = toy.table((20, 20), steps=10)
    data = dataclasses.replace(data, recipe=dataclasses.replace(data.recipe, lr=1e-4, head_lr=1e-2))
    ctx, _ = toy.context(tmp_path)
    rates = []
    step = torch.optim.AdamW.step

    def watched(self, *a, **k):
        rates.append([(g["lr"], sum(p.numel() for p in g["params"])) for g in self.param_groups])
        return step(self, *a, **k)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    body = data.body()
    net = MultiHead(Plain(body), [body.head()])
    training.fit(net, training.mean_loss(net), data, ctx)
    table = sum(toy.FIELDS) * 4
    everything = sum(p.numel() for p in net.parameters())
    for k, groups in enumerate(rates):
        cosine = (1 + np.cos(np.pi * k / 10)) / 2
        assert groups == [
            (pytest.approx(1e-4 * cosine), table),
            (pytest.approx(1e-2 * cosine), everything - table),
        ]


def test_layers_that_nobody_trains_stay_so_after_a_phase(tmp_path):
    data, _ = toy.images((30, 20), steps=4)
    ctx, _ = toy.context(tmp_path)
    body = data.body()
    body.stem.layers[0].requires_grad_(False)
    first = body.stem.layers[0].weight.clone()
    net = MultiHead(Plain(body), [body.head(), body.head()])
    phases = [Phase(steps=2, part=lambda: net.heads), Phase(steps=2)]
    training.fit(net, training.mean_loss(net), data, ctx, phases=phases)
    assert torch.equal(body.stem.layers[0].weight, first)
    assert [p.requires_grad for p in body.stem.parameters()] == [False] + [True] * 8


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("die_at", [5, 12, 16])
@pytest.mark.parametrize("row", ["d-train/mmoe", "group-dro", "dann", "star"])
def test_a_killed_cell_goes_on_to_the_same_answer(row, die_at, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT", 2)
    data, _ = toy.images((50, 30), steps=18)
    declared = METHODS[row.partition("/")[0]]

    def answered(folder, die_at=None):
        folder.mkdir(exist_ok=True)
        ctx, _ = toy.context(folder, seed=1, checkpoints=folder / "checkpoints")
        taken = []
        step = torch.optim.AdamW.step

        def counted(self, *a, **k):
            taken.append(1)
            if len(taken) == die_at:
                raise Killed
            return step(self, *a, **k)

        with monkeypatch.context() as m:
            m.setattr(torch.optim.AdamW, "step", counted)
            answer = declared.fn(data, declared.hp_of(row), ctx)
        return answer["test"], len(taken), [c["loss"] for c in ctx.curve], [s.step for s in ctx.history]

    whole = answered(tmp_path / "whole")
    with pytest.raises(Killed):
        answered(tmp_path / "killed", die_at)
    again = answered(tmp_path / "killed")
    assert again[1] < 18
    assert np.array_equal(again[0], whole[0])
    assert again[2:] == whole[2:]


def test_answers_do_not_depend_on_how_many_rows_are_asked_at_once(tmp_path, monkeypatch):
    data, _ = toy.images((50, 30), steps=3)
    ctx, _ = toy.context(tmp_path)
    net = Star(data.body(), 2, normalise=True, auxiliary=4)
    training.fit(net, training.mean_loss(net), data, ctx)
    at_once = training.answer(net, data, ctx)
    monkeypatch.setitem(training.EVAL_BATCH, "images", 7)
    np.testing.assert_allclose(training.answer(net, data, ctx)["test"], at_once["test"], atol=1e-6)
