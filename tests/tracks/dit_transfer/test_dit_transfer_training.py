"""What the rows of `dit_transfer` train: steps, checkpoints and snapshots, each row's loss and start."""

from __future__ import annotations

import math

import dit_transfer_reference as reference
import numpy as np
import pytest
import scipy.stats
import torch
from dit_transfer_reference import answered, context, given, numbers, pictures_of

from bench.contract import Score
from bench.engine.context import set_seed
from bench.tracks.dit_transfer import training
from bench.tracks.dit_transfer.nets import tuning

TUNINGS = {"lora/r8": "lora", "lora/r16": "lora", "bitfit": "bitfit", "difffit": "difffit",
           "vpt-deep": "prompts", "adapter/parallel": "adapter", "adapter/sequential": "adapter",
           "diff-tuning/difffit": "difffit", "diff-tuning/lora": "lora"}  # fmt: skip


# --------------------------------------------------------------------------------------------------- the loop


class Killed(Exception):
    pass


def fitted(folder, die_at=None, trains="full", seed=1, steps=17, snapshots=0, scorer=None, **changes):
    """Context, what is drawn from, what was trained, and steps done, of a training that may be killed."""
    data = given(steps=steps, **changes)
    ctx = context(folder, seed, folder / "checkpoints", scorer)
    set_seed(seed)
    theta = training.start(data, trains, ctx)
    plain, done = training.denoising(theta), 0

    def loss(batch):
        nonlocal done
        done += 1
        if done == die_at:
            raise Killed
        return plain(batch) + 0 * torch.rand(1)[0]  # a row's own use of the global generator

    fit = training.fit(theta, loss, data, ctx, snapshots=snapshots, answer=lambda m: training.answer(data, m))
    return ctx, fit, theta, done


def same(one, other):
    a, b = numbers(one), numbers(other)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    ("die_at", "trains", "average", "schedule"),
    [
        (6, "full", "none", "cosine"), (14, "full", "ema", "constant"),
        (17, "lora", "last-third", "constant"), (3, "difffit", "last-third", "cosine"),
    ],
)  # fmt: skip
def test_a_killed_training_goes_on_to_the_same_weights(
    die_at, trains, average, schedule, tmp_path, monkeypatch
):
    """Of 17 steps the last third begins after 12, so the third case goes on within it, after 15."""
    monkeypatch.setattr(training, "CHECKPOINT", 5)
    how = {"trains": trains, "average": average, "schedule": schedule, "decay": 0.8}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = fitted(tmp_path / "whole", **how)
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", die_at, **how)
    again = fitted(tmp_path / "killed", **how)
    assert again[3] == 17 - (die_at - 1) // 5 * 5
    assert same(whole[1].model, again[1].model)
    assert whole[1].model is whole[2]
    for a, b in zip(whole[0].curve, again[0].curve, strict=True):
        assert (a["step"], a["loss"]) == (b["step"], b["loss"])


class KilledAt:
    """Pictures at which a training is killed when they are read once too often."""

    def __init__(self, pictures, reads):
        self.pictures, self.left = pictures, reads

    def __len__(self):
        return len(self.pictures)

    def batch(self, rows, draw):
        if not self.left:
            raise Killed
        self.left -= 1
        return self.pictures.batch(rows, draw)


@pytest.mark.parametrize("row", ["diff-tuning", "diff-tuning/released", "scratch", "lora/r8", "vpt-deep"])
def test_a_killed_row_goes_on_to_the_same_pictures(row, tmp_path, monkeypatch):
    """Of a bank too, and what a row draws before it trains (LoRA's factors) comes back."""
    monkeypatch.setattr(training, "CHECKPOINT", 2)
    whole = pictures_of(answered(row, tmp_path, given(steps=5, average="last-third")))
    data = given(steps=5, average="last-third")
    pictures = data.x
    object.__setattr__(data, "x", KilledAt(pictures, 3))
    with pytest.raises(Killed):
        answered(row, tmp_path, data, context(tmp_path, 0, tmp_path / "checkpoints"))
    object.__setattr__(data, "x", pictures)
    torch.rand(100)
    again = answered(row, tmp_path, data, context(tmp_path, 0, tmp_path / "checkpoints"))
    np.testing.assert_array_equal(pictures_of(again), whole)


def weights_after_each_step(row, folder, data):
    """A row's answer, and the weights after each optimisation step in double precision."""
    stored, step = [], torch.optim.AdamW.step

    def stepped(self, *args, **kwargs):
        step(self, *args, **kwargs)
        stored.append([p.detach().clone().double() for p in self.param_groups[0]["params"]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", stepped)
        answer = answered(row, folder, data)
    return answer, stored


@pytest.mark.parametrize(
    ("average", "steps"), [("none", 8), ("ema", 8), ("last-third", 8), ("last-third", 9), ("last-third", 1)]
)
def test_the_average_that_the_recipe_names_is_what_is_drawn_from(average, steps, tmp_path):
    """The averages written out, from the weights after each step."""
    data = given(steps=steps, average=average, decay=0.7)
    _, stored = weights_after_each_step("full", tmp_path, data)
    expected = stored[-1]
    if average == "last-third":
        window = stored[-max(1, steps // 3) :]
        expected = [torch.stack(each).mean(0) for each in zip(*window, strict=True)]
    elif average == "ema":
        expected = [p.detach().double() for p in reference.network().weights().values()]
        for now in stored:
            expected = [0.7 * e + 0.3 * p for e, p in zip(expected, now, strict=True)]
    theta = data.pretrained.given[0]
    for p, e, last in zip(theta.weights().values(), expected, stored[-1], strict=True):
        torch.testing.assert_close(p.double(), e, rtol=1e-5, atol=1e-6)
        assert torch.equal(p.double(), last) == (average == "none" or steps == 1 or torch.equal(e, last))


def test_the_last_third_is_of_210_steps_the_last_70():
    parameter = torch.zeros(1)
    average = training.Average([parameter], given(steps=210, average="last-third").recipe)
    for done in range(1, 211):
        parameter.fill_(done)
        average.update(done)
        with average.applied(done):
            assert parameter.item() == pytest.approx(done if done <= 140 else (141 + done) / 2)
    average.assign(210)
    assert parameter.item() == pytest.approx(175.5)


def test_the_rate_is_constant_or_falls_along_a_cosine(tmp_path, monkeypatch):
    seen, step = [], torch.optim.AdamW.step

    def stepped(self, *args, **kwargs):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    answered("full", tmp_path, given(steps=4, lr=0.01))
    answered("full", tmp_path, given(steps=4, lr=0.01, schedule="cosine"))
    assert seen == pytest.approx(
        [0.01] * 4 + [0.01, 0.01 * (0.5 + 0.125**0.5), 0.005, 0.01 * (0.5 - 0.125**0.5)]
    )


def test_snapshots_are_taken_at_their_steps_and_change_nothing(tmp_path):
    seen = []

    def scorer(answer, history):
        seen.append(pictures_of(answer))
        torch.rand(7)
        return Score({"kid_lite0": float(len(seen))})

    for name in ("with", "without", "shorter"):
        (tmp_path / name).mkdir()
    how = {"average": "ema", "decay": 0.8}
    ctx, with_snapshots, *_ = fitted(tmp_path / "with", snapshots=3, steps=12, scorer=scorer, **how)
    _, without, *_ = fitted(tmp_path / "without", steps=12, **how)
    assert [s.step for s in ctx.history] == [4, 8, 12]
    assert same(with_snapshots.model, without.model)
    # A snapshot at step 8 shows what a training of 8 steps ends with.
    _, shorter, *_ = fitted(tmp_path / "shorter", steps=8, **how)
    np.testing.assert_array_equal(seen[1], pictures_of(training.answer(given(), shorter.model)))
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize(("steps", "at"), [(1, [1]), (2, [1, 2])])
def test_a_training_of_few_steps_has_fewer_snapshots(steps, at, tmp_path):
    ctx, *_ = fitted(tmp_path, snapshots=3, steps=steps)
    assert [s.step for s in ctx.history] == at


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training_at_the_next_report(bad, tmp_path):
    data = given(steps=60)
    ctx = context(tmp_path)
    theta = training.start(data, "bitfit", ctx)
    plain, done = training.denoising(theta), []

    def loss(batch):
        done.append(len(done))
        return plain(batch) * (bad if len(done) >= 8 else 1)

    fit = training.fit(theta, loss, data, ctx)
    assert len(done) == 9
    assert [c["step"] for c in ctx.curve] == [3, 6, 9]
    assert not math.isfinite(ctx.curve[-1]["loss"])
    assert 0 < fit.seconds_per_step < math.inf


def test_a_step_is_of_the_seed_and_its_number_alone(tmp_path):
    data, model = given(steps=9), reference.network()

    def batches(first, seed=4):
        return list(training._batches(model, data, 8, first, context(tmp_path, seed)))

    whole = batches(0)
    torch.rand(100)
    rest = batches(6)
    assert (len(whole), len(rest)) == (9, 3)
    for a, b in zip(whole[6:], rest, strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)
        assert torch.equal(torch.rand(5, generator=a.generator), torch.rand(5, generator=b.generator))
    firsts = [torch.rand(1, generator=b.generator).item() for b in (*whole[:6], *batches(0, 5)[:6])]
    assert len(set(firsts)) == 12
    assert not torch.equal(batches(0, 5)[0].x, whole[0].x)


def test_every_picture_comes_before_one_comes_again_with_its_label_or_none(tmp_path):
    data, model = given(steps=45, drop=0.3), reference.network()
    dropped = 0
    for batch in training._batches(model, data, 4, 0, context(tmp_path)):
        found = batch.x.mean((1, 2, 3))
        true = ((found + 1) * 127.5 // 40).long()  # brightness says the class
        none = batch.y == model.null
        assert torch.equal(batch.y[~none], true[~none])
        dropped += int(none.sum())
    counts = np.bincount(np.concatenate(data.x.rows))
    assert counts.tolist() == [4] * reference.N
    n = 45 * 4
    assert abs(dropped / n - 0.3) < 4 * math.sqrt(0.21 / n)
    passes = np.concatenate(data.x.rows).reshape(4, reference.N)
    assert all(sorted(p) == list(range(reference.N)) for p in passes.tolist())
    assert len({tuple(p) for p in passes.tolist()}) == 4


@pytest.mark.parametrize(
    ("row", "small"),
    [("full", False), ("scratch", False), ("diff-tuning", False), ("distillation", False), ("p2", False),
     *((row, True) for row in TUNINGS)],
)  # fmt: skip
def test_rows_that_train_everything_have_the_rate_and_others_the_small_one(row, small, tmp_path, monkeypatch):
    seen, step = [], torch.optim.AdamW.step

    def stepped(self, *args, **kwargs):
        (group,) = self.param_groups
        seen.append((group["lr"], group["weight_decay"]))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    answered(row, tmp_path, given(steps=1, lr=0.0125, small_lr=0.025))
    assert seen == [(0.025 if small else 0.0125, 0.0)]


def test_it_learns(tmp_path):
    data = given(steps=50, lr=1e-2, batch=16)
    answered("full", tmp_path, data)
    both = (reference.network(), data.pretrained.given[0])
    before, after = (training.denoising(m)(step_of(data, 45)).item() for m in both)
    assert after < 0.6 * before


# ------------------------------------------------------------------------------------------------- the losses


def test_the_loss_of_a_picture_is_of_its_own_time_step_noise_and_weight():
    """Against the formula written out: the mean of w(t) |e - f(sqrt(a) x + sqrt(1 - a) e, t, y)|^2."""
    model, g = reference.network(), torch.Generator().manual_seed(3)
    x, y = torch.randn(5, 3, 8, 8, generator=g), torch.tensor([0, 1, 2, 3, 0])
    t = torch.tensor([0, 10, 400, 700, 999])
    left = torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))[t].float()
    with torch.no_grad():
        plain = training.losses(model, x, y, t, torch.Generator().manual_seed(0))
        weighted = training.losses(
            model, x, y, t, torch.Generator().manual_seed(0), lambda snr: 1 / (1 + snr)
        )
        e = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        a = left[:, None, None, None]
        error = (model(a.sqrt() * x + (1 - a).sqrt() * e, t, y) - e).square().mean((1, 2, 3))
    torch.testing.assert_close(plain, error, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weighted, error * (1 - left), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("row", "hp"),
    [
        ("min-snr", {"gamma": math.inf}), ("p2", {"gamma": 0.0}),
        ("distillation", {"tau": 0.0, "weight": 0.0}), ("diff-tuning", {"tau": 0.0}),
    ],
)  # fmt: skip
def test_a_loss_without_its_own_part_is_full_fine_tuning(row, hp, tmp_path):
    data = given(steps=4)
    plain = pictures_of(answered("full", tmp_path, data)).astype(int)
    off = pictures_of(answered(row, tmp_path, data, **hp)).astype(int)
    if row == "diff-tuning":  # it draws other noise: another sample of the same loss
        assert 0 < np.abs(off - plain).mean() < 20
    else:
        np.testing.assert_array_equal(off, plain)
    assert np.abs(pictures_of(answered(row, tmp_path, data)) - plain).max() > 0


def test_the_ordinary_loss_is_at_uniform_time_steps_each_with_its_weight(monkeypatch):
    """Toy losses that grow with t, weighted by hand from the schedule of DiT."""
    seen = []

    def toy(model, x, y, t, noise, weight):
        seen.append(t)
        return t.float() * weight

    monkeypatch.setattr(training.DIFFUSION, "losses", toy)
    left = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    snr = left / (1 - left)
    x, y = torch.zeros(40, 3, 8, 8), torch.zeros(40, dtype=torch.int64)
    batch = training.Batch(x, y, torch.Generator().manual_seed(2))
    value = training.denoising(None, weight=lambda s: 1 / (1 + s))(batch)
    t = seen[0].numpy()
    assert value.item() == pytest.approx((t / (1 + snr[t])).mean(), rel=1e-4)
    assert t.min() < 150
    assert t.max() > 850


# ------------------------------------------------------------------------------------------------ Diff-Tuning


class Watch:
    """`Diffusion.losses` of a network that costs nothing, which remembers what it was asked."""

    def __init__(self, of_t=None):
        self.x, self.y, self.t, self.of_t = [], [], [], of_t

    def __call__(self, model, x, y, t, noise, weight=None):
        self.x.append((x.mean((1, 2, 3)) + 1) * 127.5)
        self.y.append(y)
        self.t.append(t)
        zero = 0 * model.labels.weight.sum()
        return zero + (torch.zeros(len(x)) if self.of_t is None else self.of_t[t])

    def split(self):
        """Brightness, labels and time steps, of the target's pictures and of the bank's."""
        each = [torch.cat(v) for v in (self.x, self.y, self.t)]
        bank = each[0] > reference.BORDER
        return [v[~bank] for v in each], [v[bank] for v in each]


def watched(monkeypatch, folder, data, row="diff-tuning", **hp):
    """What a row asks of the network's losses."""
    watch = Watch()
    monkeypatch.setattr(training.DIFFUSION, "losses", watch)
    answered(row, folder, data, **hp)
    return watch


def follows(t, weights):
    """The p-value of time steps being drawn in proportion to ``weights``."""
    expected = len(t) * (weights / weights.sum()).reshape(25, -1).sum(1)
    found = np.bincount(t.numpy() // (1000 // 25), minlength=25)
    return scipy.stats.chisquare(found, expected).pvalue


T = np.arange(1, 1001) / 1000
FLAT = np.ones(1000)
SNR = (left := np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))) / (1 - left)


@pytest.mark.parametrize(
    ("row", "psi", "xi"),
    [
        ("diff-tuning", T, 1 - T),
        ("diff-tuning/difffit", T, 1 - T),
        ("diff-tuning/tau-0.5", T**0.5, 1 - T**0.5),
        ("diff-tuning/tau-1.5", T**1.5, 1 - T**1.5),
        ("diff-tuning/psi-snr", 1 / (1 + SNR), SNR / (1 + SNR)),
        ("diff-tuning/no-bank", T, 0 * T),
        ("diff-tuning/no-reconsolidation", FLAT, 1 - T),
    ],
)
def test_algorithm_1_takes_the_picture_from_the_target_with_probability_psi(
    row, psi, xi, tmp_path, monkeypatch
):
    """How often each time step comes with a picture of the target, and of the bank, is as psi and xi say."""
    data = given(steps=400, drop=0.1)
    watch = watched(monkeypatch, tmp_path, data, row)
    assert {len(x) for x in watch.x} == {32}
    (_, y, t), (_, y_bank, t_bank) = watch.split()
    n, share = 400 * 32, psi.sum() / (psi + xi).sum()
    assert abs(len(t) - n * share) <= 4 * math.sqrt(n * share * (1 - share))
    null = len(reference.CLASSES)
    assert (y_bank == null).all()
    assert abs((y == null).float().mean() - 0.1) < 4 * math.sqrt(0.09 / len(y))
    assert follows(t, psi) > 1e-3
    assert follows(t, psi * T**0.3) < 1e-3
    if share < 1:
        assert follows(t_bank, xi) > 1e-3
        assert follows(t_bank, xi * T**0.3) < 1e-3
        assert follows(torch.cat([t, t_bank]), psi + xi) > 1e-3
    # The bank is gone through, as the target is, before a picture comes again.
    often = np.bincount(np.concatenate(data.bank(tmp_path).rows), minlength=reference.BANK)
    assert often.max() - often.min() <= 1


@pytest.mark.parametrize(
    ("row", "s"), [("diff-tuning/released", 1.0), ("diff-tuning/released-power-1.5", 1.5)]
)
def test_a_step_of_the_released_script_is_26_pictures_of_the_target_and_6_of_the_bank(
    row, s, tmp_path, monkeypatch
):
    data = given(steps=200)
    watch = watched(monkeypatch, tmp_path, data, row)
    assert {len(x) for x in watch.x} == {32}
    assert {int((x > reference.BORDER).sum()) for x in watch.x} == {6}
    (_, _, t), (_, y_bank, t_bank) = watch.split()
    assert (y_bank == len(reference.CLASSES)).all()
    assert follows(t, T**s) > 1e-3
    assert follows(t_bank, (T**s)[::-1]) > 1e-3
    assert follows(t, FLAT) < 1e-6
    assert follows(t_bank, FLAT) < 1e-6
    assert {len(r) for r in data.x.rows} == {26}


@pytest.mark.parametrize(
    ("row", "of_target", "of_bank"),
    [
        ("diff-tuning", T, 1 - T),
        ("diff-tuning/weighting", T, 1 - T),
        ("diff-tuning/released", T / T.mean(), 0.1 * (1 - T) / T.mean()),
    ],
)
def test_drawing_and_weighting_minimise_the_same_and_the_released_script_another(
    row, of_target, of_bank, tmp_path, monkeypatch
):
    """The mean over many steps of a loss that grows with t, and twice so on the bank, against the formula."""
    of_t = torch.arange(1000) / 500
    f = of_t.double().numpy()
    exact = (of_target * f).mean() + 2 * (of_bank * f).mean()
    data = given()
    _, loss, batch = caught(monkeypatch, row, tmp_path, data)

    def toy(model, x, y, t, noise, weight):
        return of_t[t] * torch.where((x.mean((1, 2, 3)) + 1) * 127.5 > reference.BORDER, 2.0, 1.0)

    monkeypatch.setattr(training.DIFFUSION, "losses", toy)
    found = np.array([loss(step_of(data, batch or 32, seed=i)).item() for i in range(150)])
    error = found.std() / 150**0.5
    assert error < 0.03
    assert abs(found.mean() - exact) < 4 * error


@pytest.mark.parametrize(("row", "weight"), [("diff-tuning/p2", "p2"), ("diff-tuning/min-snr", "min_snr")])
def test_a_weight_is_laid_on_top_of_diff_tuning(row, weight, tmp_path, monkeypatch):
    """The same step with and without: each picture's loss times what the paper's formula says."""
    data, seen = given(), []
    _, loss, _ = caught(monkeypatch, row, tmp_path, data)

    def toy(model, x, y, t, noise, weight):
        seen.append((t.numpy(), weight.numpy()))
        return weight

    monkeypatch.setattr(training.DIFFUSION, "losses", toy)
    loss(step_of(data, 32))
    ((t, found),) = seen
    expected = {"p2": (1 + SNR) ** -0.5, "min_snr": np.minimum(SNR, 5) / SNR}[weight]
    np.testing.assert_allclose(found, expected[t], rtol=1e-4)


def test_what_is_trained_and_what_is_minimised_are_two_choices(tmp_path):
    """Diff-Tuning's loss with DiffFit's parameters leaves all others as they were."""
    data = given(steps=2)
    answer = answered("diff-tuning/difffit", tmp_path, data)
    other = given(steps=2)
    assert answer["parameters"] == answered("difffit", tmp_path, other)["parameters"]
    theta, start = data.pretrained.given[0], tuned_start(data, "difffit")
    changed = {k for k, v in numbers(theta).items() if not torch.equal(v, start[k])}
    assert changed <= tuning.trained(theta).keys()
    assert len(changed) > 10


def tuned_start(data, kind, **settings):
    """Numbers of a network that was tuned and not trained."""
    model = reference.network()
    set_seed(0)
    tuning.tune(model, kind, **settings)
    return numbers(model)


# ----------------------------------------------------------------------------------------------- distillation


def caught(monkeypatch, row, folder, data, **hp):
    """The network and the loss that a row hands to the loop, and how many pictures it asks a step."""
    found = {}

    def fit(model, loss, data, ctx, *, batch=0, **more):
        found.update(model=model, loss=loss, batch=batch)
        return training.Fitted(model, 0.0)

    monkeypatch.setattr(training, "fit", fit)
    answered(row, folder, data, **hp)
    return found["model"], found["loss"], found["batch"]


def step_of(data, n, seed=3):
    x = data.x.batch(np.arange(n), torch.Generator())
    return training.Batch(x, torch.from_numpy(data.y[:n]), torch.Generator().manual_seed(seed))


def test_distillation_is_appendix_c_written_out(tmp_path, monkeypatch):
    """Both terms by hand from the step's own draws; of the frozen network nothing has a gradient."""
    data = given()
    theta, loss, batch = caught(monkeypatch, "distillation", tmp_path, data, weight=7.0)
    assert batch == 0
    frozen, asked = data.pretrained.given[1], []
    assert frozen is not theta
    with torch.no_grad():
        theta.net.proj_out_2.bias.add_(0.05)
    frozen.register_forward_hook(lambda m, args, out: asked.append((args, out)))
    now, again = step_of(data, 32), step_of(data, 32)
    value = loss(now)
    t = training.draw(training.UNIFORM, 32, again.generator)
    adaptation = training.losses(theta, again.x, again.y, t, again.generator)
    ((x_t, at, y), out) = asked[0]
    assert torch.equal(at, t)
    assert (y == theta.null).all()
    assert not out.requires_grad
    apart = (theta(x_t, t, y) - out).square().mean((1, 2, 3))
    p = (t + 1) / 1000
    torch.testing.assert_close(value, (p * adaptation + 7 * (1 - p) * apart).mean(), rtol=1e-4, atol=0)
    assert apart.mean().item() == pytest.approx(0.05**2, rel=1e-2)  # every output moved by 0.05
    value.backward()
    assert all(p.grad is None for p in frozen.parameters())


# -------------------------------------------------------------------------------------------- starts and ends


def test_scratch_starts_from_the_weights_of_a_new_network(tmp_path, monkeypatch):
    starts = []
    for seed in (0, 0, 1):
        theta, _, _ = caught(monkeypatch, "scratch", tmp_path, given(), seed=seed)
        starts.append(numbers(theta))
        x = torch.randn(2, 3, 8, 8)
        assert theta(x, torch.tensor([5, 900]), torch.tensor([0, 3])).abs().max() == 0  # adaLN-Zero
    first, again, other = starts
    before = numbers(reference.network())
    for k, v in first.items():
        assert torch.equal(v, again[k])
        assert not torch.equal(v, before[k]), k
    matrices = [k for k in first if first[k].abs().max() > 0]
    assert len(matrices) > 10
    assert all(not torch.equal(first[k], other[k]) for k in matrices)


@pytest.mark.parametrize(
    ("row", "average"),
    [("bitfit", "none"), ("lora/r8", "ema"), ("adapter/parallel", "none"), ("vpt-deep", "last-third")],
)
def test_small_rows_leave_every_matrix_of_the_network_as_it_was(row, average, tmp_path):
    data = given(steps=4, average=average, decay=0.8)
    answered(row, tmp_path, data)
    theta, table = data.pretrained.given[0], "class_embedder.embedding_table"
    after = {k.replace(".base", "").replace("_layer", ""): v for k, v in numbers(theta).items()}
    before, moved = numbers(reference.network()), []
    for k, v in before.items():
        if not torch.equal(v, after[k]):
            moved.append(k)
    if row == "bitfit":
        assert all(k.endswith(".bias") or table in k for k in moved)
        assert len(moved) == 1 + sum(k.endswith(".bias") for k in before)
    else:
        assert [k for k in moved if table not in k] == []
    assert any(table in k for k in moved)


def test_untuned_draws_what_the_pre_trained_network_does_whatever_seed_and_label(tmp_path):
    before = pictures_of(training.answer(given(), reference.network()))
    for seed, labels in ((0, (0, 1, 2, 0, 1, 2, 0)), (1, (2, 2, 2, 2, 1, 1, 0))):
        answer = answered("untuned", tmp_path, given(), seed=seed)
        assert (answer["parameters"], answer["seconds_per_step"]) == (0, None)
        np.testing.assert_array_equal(pictures_of(answer, labels), before)


@pytest.mark.parametrize("row", [r for r in TUNINGS if r != "vpt-deep" and "diff-tuning" not in r])
def test_of_no_step_a_row_draws_what_the_pre_trained_network_does(row, tmp_path):
    data = given(steps=0)
    before = pictures_of(training.answer(data, reference.network())).astype(int)
    at_first = pictures_of(answered(row, tmp_path, data))
    if "difffit" in row:  # norms with weights, in bf16
        assert np.abs(at_first - before).mean() < 0.5
    else:
        np.testing.assert_array_equal(at_first, before)
    after = pictures_of(answered(row, tmp_path, given(steps=8)))
    assert np.abs(after - before).mean() > 2


@pytest.mark.parametrize("row", ["full", "scratch", "diff-tuning", "lora/r8"])
def test_a_row_is_the_same_for_a_seed_and_another_for_another(row, tmp_path):
    one, again, other = (pictures_of(answered(row, tmp_path, given(steps=2), seed=s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_relay_goes_from_the_tuned_network_to_the_pre_trained_one(tmp_path):
    data = given(steps=10, guidance=1.5)
    answer = answered("full", tmp_path, data, relay=True)
    tuned, before = pictures_of(answer), pictures_of(training.answer(data, reference.network()))
    np.testing.assert_array_equal(pictures_of(answer, switch=0), tuned)
    np.testing.assert_array_equal(pictures_of(answer, switch=1000), before)
    middle = pictures_of(answer, switch=500)
    assert not np.array_equal(middle, tuned)
    assert not np.array_equal(middle, before)
    # The chain of four steps is at 999, 749, 499, 249: between two of them a switch changes nothing.
    np.testing.assert_array_equal(pictures_of(answer, switch=700), middle)
    assert not np.array_equal(pictures_of(answer, switch=800), middle)


def test_drawing_leaves_training_mode_and_asks_no_gradient(tmp_path):
    data = given(steps=1)
    answer = answered("full", tmp_path, data)
    theta = data.pretrained.given[0]
    modes = []
    theta.register_forward_hook(lambda m, a, o: modes.append((m.training, o.requires_grad)))
    for mode in (True, False):
        theta.train(mode)
        pictures_of(answer)
        assert theta.training is mode
    assert set(modes) == {(False, False)}
