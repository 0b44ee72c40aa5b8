"""Every row of `ood` on a tiny encoder: it answers, and it is what its formula says."""

from __future__ import annotations

import dataclasses
import importlib
import math

import numpy as np
import ood_reference as reference
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from bench.contract import Task
from bench.nn import averaging
from bench.registry import methods_in
from bench.tracks.ood import settings, training
from bench.tracks.ood.nets import heads
from bench.tracks.ood.nets.clip import with_context
from bench.tracks.ood.track import TRACK

FILES = (
    "methods.clipood",
    *(
        f"baselines.ood.{n}"
        for n in (
            "zero_shot", "linear_probe", "erm", "fine_tune", "wise_ft", "ema", "coop", "cocoop",
            "clip_adapter", "tip_adapter", "lp_ft", "swad",
        )
    ),
)  # fmt: skip
METHODS = {m.id: m for file in FILES for m in methods_in(importlib.import_module(f"bench.{file}"))}
#: Rows with a linear head know only the names of their training.
HEADS = ("linear-probe", "erm", "lp-ft")
FROZEN = ("zero-shot", "linear-probe", "coop", "cocoop", "clip-adapter", "tip-adapter", "tip-adapter-f")
TUNED = tuple(m for m in METHODS if m not in FROZEN)
NAMES = reference.NAMES


def logits_of(answer, names=NAMES, of=None):
    of = of or reference.truth().targets[0].labelled
    return np.asarray(answer["predict"](of.inputs.read(np.arange(len(of))), tuple(names)))


def features_of(of, model=None):
    with torch.no_grad():
        return training.encoded(model or reference.encoder(), of)


TARGET = reference.truth().targets[0].labelled


# -------------------------------------------------------------------------------------------------- every row


def test_the_rows_that_the_track_has():
    assert set(METHODS) == {
        "clipood", "zero-shot", "linear-probe", "erm", "fine-tune", "wise-ft", "ema", "coop", "cocoop",
        "clip-adapter", "tip-adapter", "tip-adapter-f", "lp-ft", "swad",
    }  # fmt: skip
    assert METHODS["clipood"].rows() == (
        "clipood", "clipood/no-margin", "clipood/no-average", "clipood/500-steps",
        "clipood/500-steps-no-average",
    )  # fmt: skip
    assert METHODS["fine-tune"].rows() == ("fine-tune", "fine-tune/500-steps")
    assert TRACK.reference in METHODS
    assert {m for m in METHODS if METHODS[m].deterministic} == {"zero-shot", "linear-probe", "tip-adapter"}


@pytest.mark.parametrize("setting", ["shift", "open", "wild"])
@pytest.mark.parametrize("row", METHODS)
def test_every_row_answers_or_says_why_not(row, setting, tmp_path):
    method, task = METHODS[row], Task(name="x", params={"setting": setting, "dataset": "emoji"})
    why = method.skip and method.skip(task, settings.Run(), method.hp)
    if row in HEADS and setting != "shift":
        assert "knows only the classes of its training" in why
        return
    assert not why
    data, truth = reference.given(setting), reference.truth(setting)
    answer = reference.answered(method, tmp_path, data)
    got = TRACK.score(task, answer, truth, ())
    assert all(np.isfinite(v) for v in got.metrics.values() if v is not None)
    assert (got.metrics["harmonic"] is None) == (setting == "shift")
    assert got.metrics["parameters"] == sum_of(row, data)
    seconds = got.metrics["seconds_per_step"]
    assert seconds is None if row in ("zero-shot", "linear-probe", "tip-adapter") else 0 < seconds < math.inf
    straight, back = logits_of(answer), logits_of(answer, NAMES[::-1])
    np.testing.assert_allclose(straight, back[:, ::-1], atol=1e-4)
    few = logits_of(answer, NAMES[1:3])
    np.testing.assert_allclose(few, straight[:, 1:3], atol=1e-4)


def sum_of(row, data):
    """How many numbers a row trains, counted by hand."""
    D, W, C, n = reference.D, reference.W, len(data.classes), len(data.train)
    tower = (3 * 8 * 9 + 8) + 2 * 8 + (32 * D + D)
    words = 4 * W  # a photo of a
    match row:
        case "zero-shot" | "tip-adapter":
            return 0
        case "linear-probe":
            return C * D + C
        case "erm" | "lp-ft":
            return tower + C * D + C
        case "coop":
            return words
        case "cocoop":
            return words + (D * (D // 16) + D // 16) + (D // 16 * W + W)
        case "clip-adapter":
            return 2 * D * (D // 4)
        case "tip-adapter-f":
            return n * D
    return tower


@pytest.mark.parametrize("row", [m for m in METHODS if m not in HEADS])
def test_a_name_that_it_never_saw_is_a_name_like_others(row, tmp_path):
    answer = reference.answered(METHODS[row], tmp_path, reference.given("open"))
    logits = logits_of(answer, ("never seen", *NAMES, "nor this one"))
    assert logits.shape == (len(TARGET), 7)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[:, 1:-1], logits_of(answer), atol=1e-4)
    assert np.ptp(logits[:, 0]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("row", METHODS)
def test_the_same_seed_gives_the_same_answer(row, tmp_path):
    data = reference.given()
    first, again, other = (
        logits_of(reference.answered(METHODS[row], tmp_path, data, seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == METHODS[row].deterministic


@pytest.mark.slow
@pytest.mark.parametrize("row", METHODS)
def test_what_a_row_does_not_train_stays_bit_for_bit(row, tmp_path):
    data, fresh = reference.given(), reference.encoder().state_dict()
    reference.answered(METHODS[row], tmp_path, data)
    (model,) = data.encoder.given
    assert not model.training
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, fresh[k])}
    allowed = {f"visual.{k}" for k, _ in model.visual.named_parameters()}
    assert changed == (set() if row in FROZEN else allowed)


@pytest.mark.slow
@pytest.mark.parametrize("row", TUNED)
def test_fine_tuning_helps_where_it_can(row, tmp_path):
    """On validation of its own domains, among known names, after some steps."""
    data = reference.given(steps=60, lr=3e-3, batch=16)
    before = (logits_of(reference.answered(METHODS["zero-shot"], tmp_path, data), NAMES, data.val)).argmax(1)
    hp = {"head_lr": 0.05} if row == "erm" else {}
    after = logits_of(reference.answered(METHODS[row], tmp_path, data, **hp), NAMES, data.val).argmax(1)
    assert (after == data.val.y).mean() > max(0.55, (before == data.val.y).mean())


# ---------------------------------------------------------------------------------------------------- CLIPood


def test_without_margin_and_average_clipood_is_fine_tuning(tmp_path):
    data = reference.given()
    plain = logits_of(reference.answered(METHODS["fine-tune"], tmp_path, data))
    both_off = reference.answered(METHODS["clipood"], tmp_path, data, margin=False, average=False)
    np.testing.assert_array_equal(logits_of(both_off), plain)
    for one in ({"margin": False}, {"average": False}, {}):
        assert not np.array_equal(
            logits_of(reference.answered(METHODS["clipood"], tmp_path, data, **one)), plain
        )


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_clipoods_weights_are_the_weighted_sum_of_those_of_its_steps(beta, tmp_path, monkeypatch):
    stored = []

    class Storing(averaging.BetaAverage):
        def __init__(self, parameters, steps, beta):
            parameters = list(parameters)
            super().__init__(parameters, steps, beta)
            self.mine = parameters
            self.store()

        def store(self):
            stored.append([p.detach().clone().double() for p in self.mine])

        def update(self):
            super().update()
            self.store()

    monkeypatch.setattr(averaging, "BetaAverage", Storing)
    data = reference.given(steps=13, beta=beta)
    reference.answered(METHODS["clipood"], tmp_path, data)
    assert len(stored) == 14
    start = list(reference.encoder().visual.parameters())
    assert all(torch.equal(a.double(), b) for a, b in zip(start, stored[0], strict=True))
    a = torch.from_numpy(scipy.stats.beta.pdf((np.arange(14) + 0.5) / 14, beta, beta))
    for i, p in enumerate(data.encoder.given[0].visual.parameters()):
        direct = torch.tensordot(a / a.sum(), torch.stack([s[i] for s in stored]), 1)
        assert (p.detach().double() - direct).abs().max() < 1e-6


def test_clipood_uses_the_recipes_margin(tmp_path):
    one, other = (
        logits_of(
            reference.answered(METHODS["clipood"], tmp_path, reference.given(margin=lam), average=False)
        )
        for lam in (0.0, 0.3)
    )
    off = logits_of(
        reference.answered(METHODS["clipood"], tmp_path, reference.given(), margin=False, average=False)
    )
    np.testing.assert_array_equal(one, off)
    assert np.abs(one - other).max() > 1e-3


# ----------------------------------------------------------------------------------- averages of the weights


def test_wise_ft_runs_from_zero_shot_to_fine_tuning(tmp_path):
    data = reference.given()
    ends = {0.0: "zero-shot", 1.0: "fine-tune"}
    for alpha, end in ends.items():
        got = logits_of(reference.answered(METHODS["wise-ft"], tmp_path, data, alpha=alpha))
        np.testing.assert_array_equal(got, logits_of(reference.answered(METHODS[end], tmp_path, data)))
    data = reference.given()
    reference.answered(METHODS["fine-tune"], tmp_path, data)
    reference.answered(METHODS["wise-ft"], tmp_path, data)
    tuned, mixed = (list(m.visual.parameters()) for m in data.encoder.given)
    for a, b, m in zip(reference.encoder().visual.parameters(), tuned, mixed, strict=True):
        assert torch.allclose(m, (a + b) / 2, atol=1e-7)


def test_an_average_that_remembers_one_step_is_fine_tuning(tmp_path):
    data = reference.given()
    got = reference.answered(METHODS["ema"], tmp_path, data, share=1e-9)
    np.testing.assert_array_equal(
        logits_of(got), logits_of(reference.answered(METHODS["fine-tune"], tmp_path, data))
    )
    long = reference.answered(METHODS["ema"], tmp_path, data, share=1e9)
    start = reference.answered(METHODS["zero-shot"], tmp_path, data)
    np.testing.assert_allclose(logits_of(long), logits_of(start), atol=1e-3)


@pytest.mark.parametrize("row", ["clipood", "ema", "wise-ft", "swad"])
def test_the_shares_that_a_row_says_are_those_of_its_weights(row, tmp_path, monkeypatch):
    """Taken anew from the weights of each step, which all these rows go through alike."""
    data = reference.given(steps=12)
    looks = iter([3.0, 2.0, 1.0, 1.0, 1.1, 1.2, *[9.0] * 10])
    monkeypatch.setattr(training, "val_loss", lambda *_: next(looks))
    stored = [[p.detach().clone() for p in reference.encoder().visual.parameters()]]
    step = torch.optim.AdamW.step

    def stepped(self, *args, **kwargs):
        step(self, *args, **kwargs)
        stored.append([p.detach().clone() for g in self.param_groups for p in g["params"]])

    monkeypatch.setattr(torch.optim.AdamW, "step", stepped)
    more = {"margin": False} if row == "clipood" else {}
    answer = reference.answered(METHODS[row], tmp_path, data, **more)
    a = torch.from_numpy(answer["average"])
    assert len(a) == len(stored) == 13
    assert a.sum() == pytest.approx(1)
    if row == "swad":
        assert a.nonzero().flatten().tolist() == list(range(3, 7))
    for i, p in enumerate(data.encoder.given[0].visual.parameters()):
        direct = torch.tensordot(a, torch.stack([s[i].double() for s in stored]), 1)
        assert (p.detach().double() - direct).abs().max() < 1e-6


def test_swad_without_a_valley_is_fine_tuning_and_with_one_it_is_not(tmp_path, monkeypatch):
    data = reference.given(steps=12)
    plain = logits_of(reference.answered(METHODS["fine-tune"], tmp_path, data))
    falling = iter(range(100, 0, -1))
    monkeypatch.setattr(training, "val_loss", lambda *_: float(next(falling)))
    np.testing.assert_array_equal(logits_of(reference.answered(METHODS["swad"], tmp_path, data)), plain)
    monkeypatch.setattr(training, "val_loss", lambda *_: 1.0)
    assert not np.array_equal(logits_of(reference.answered(METHODS["swad"], tmp_path, data)), plain)


# ---------------------------------------------------------------------------------------------- linear heads


def test_the_linear_probe_is_sklearns(tmp_path):
    data = reference.given()
    answer = reference.answered(METHODS["linear-probe"], tmp_path, data)
    x, val, target = (features_of(of).numpy() for of in (data.train, data.val, TARGET))
    fits = [LogisticRegression(C=10.0**e, max_iter=1000).fit(x, data.train.y) for e in range(-1, 6)]
    right = [f.score(val, data.val.y) for f in fits]
    best = fits[right.index(max(right))]
    np.testing.assert_allclose(logits_of(answer), best.decision_function(target), rtol=1e-3, atol=1e-2)
    assert (logits_of(answer).argmax(1) == best.predict(target)).all()
    assert len(heads.STRENGTHS) == 7


def test_a_class_without_a_training_picture_is_never_chosen(tmp_path):
    data = reference.given()
    some = data.train.y != 2
    held = dataclasses.replace(data.train.inputs, images=data.train.inputs.images[some])
    fewer = dataclasses.replace(
        data.train, inputs=held, y=data.train.y[some], domain=data.train.domain[some],
        ids=data.train.ids[some],
    )  # fmt: skip
    answer = reference.answered(METHODS["linear-probe"], tmp_path, dataclasses.replace(data, train=fewer))
    logits = logits_of(answer)
    assert np.isfinite(logits).all()
    assert 2 not in logits.argmax(1)
    x, val = features_of(fewer).numpy(), features_of(data.val).numpy()
    fits = [LogisticRegression(C=c, max_iter=1000).fit(x, fewer.y) for c in heads.STRENGTHS]
    best = fits[int(np.argmax([f.score(val, data.val.y) for f in fits]))]
    expected = best.decision_function(features_of(TARGET).numpy())
    np.testing.assert_allclose(logits[:, [0, 1, 3, 4]], expected, rtol=1e-3, atol=1e-2)


def test_lp_ft_starts_from_the_probe(tmp_path):
    data = reference.given(steps=0)
    probe = logits_of(reference.answered(METHODS["linear-probe"], tmp_path, data))
    np.testing.assert_array_equal(logits_of(reference.answered(METHODS["lp-ft"], tmp_path, data)), probe)
    after = logits_of(reference.answered(METHODS["lp-ft"], tmp_path, reference.given(lr=1e-4, steps=3)))
    assert 0 < np.abs(after - probe).max() < 0.2 * np.abs(probe).max()


def test_erm_starts_from_nothing(tmp_path):
    logits = logits_of(reference.answered(METHODS["erm"], tmp_path, reference.given(steps=0)))
    np.testing.assert_array_equal(logits, 0)


# ---------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("setting", ["shift", "open"])
def test_coop_of_no_step_is_zero_shot(setting, tmp_path):
    data = reference.given(setting, steps=0)
    zero = logits_of(reference.answered(METHODS["zero-shot"], tmp_path, data))
    np.testing.assert_allclose(
        logits_of(reference.answered(METHODS["coop"], tmp_path, data)), zero, atol=1e-4
    )
    after = logits_of(reference.answered(METHODS["coop"], tmp_path, reference.given(setting, steps=5)))
    assert np.abs(after - zero).max() > 0.01


def test_cocoops_prompts_are_those_of_the_picture(tmp_path, monkeypatch):
    """Against one picture and one name at a time; the network h is caught on its way."""
    caught = {}
    plain = training.fit

    def fit(model, groups, *rest, **more):
        caught["trained"] = groups[0][0]
        return plain(model, groups, *rest, **more)

    monkeypatch.setattr(training, "fit", fit)
    data = reference.given("open", steps=4)
    answer = reference.answered(METHODS["cocoop"], tmp_path, data, lr=0.05)
    vectors, w1, b1, w2, b2 = (p.detach() for p in caught["trained"])
    model = data.encoder.given[0]
    got, f = logits_of(answer), features_of(TARGET)
    asked = ("white big house", "ox", "yellow sun and very many other words")
    longer = logits_of(answer, asked)
    for names, logits in ((NAMES, got), (asked, longer)):
        for i in range(0, len(TARGET), 3):
            moved = vectors + (torch.relu(f[i] @ w1.T + b1) @ w2.T + b2)
            for k, name in enumerate(names):
                embedded = model.embed_tokens([name])
                with torch.no_grad():
                    t = model.text_features_from(*with_context(*embedded, moved))[0]
                assert logits[i, k] == pytest.approx(float(reference.SCALE * f[i] @ t), abs=1e-3)
    assert not torch.equal(vectors, reference.encoder().word_embeddings("a photo of a"))


def test_cocoop_is_the_same_for_one_picture_and_for_many(tmp_path):
    answer = reference.answered(METHODS["cocoop"], tmp_path, reference.given("open"))
    pictures = TARGET.inputs.read(np.arange(len(TARGET)))
    together = answer["predict"](pictures, NAMES)
    alone = np.concatenate([answer["predict"](pictures[i : i + 1], NAMES) for i in range(len(pictures))])
    np.testing.assert_allclose(together, alone, atol=1e-4)


# --------------------------------------------------------------------------------------------------- adapters


def test_clip_adapter_of_ratio_0_is_zero_shot(tmp_path):
    data = reference.given()
    zero = logits_of(reference.answered(METHODS["zero-shot"], tmp_path, data))
    got = logits_of(reference.answered(METHODS["clip-adapter"], tmp_path, data, ratio=0.0))
    np.testing.assert_allclose(got, zero, atol=1e-4)
    assert np.abs(logits_of(reference.answered(METHODS["clip-adapter"], tmp_path, data)) - zero).max() > 0.01


def test_clip_adapter_is_its_formula(tmp_path, monkeypatch):
    caught, plain = [], training.fit

    def fit(model, groups, *rest, **more):
        caught.extend(groups[0][0])
        return plain(model, groups, *rest, **more)

    monkeypatch.setattr(training, "fit", fit)
    data = reference.given()
    got = logits_of(reference.answered(METHODS["clip-adapter"], tmp_path, data, ratio=0.3))
    w1, w2 = (p.detach() for p in caught)
    f, t = features_of(TARGET), reference.encoder().text_features(data.prompts(NAMES))
    moved = 0.3 * torch.relu(torch.relu(f @ w1.T) @ w2.T) + 0.7 * f
    expected = reference.SCALE * (moved / moved.norm(dim=1, keepdim=True)) @ t.T
    np.testing.assert_allclose(got, expected, atol=1e-3)


def by_loops(f, t, keys, labels, known, names, alpha, beta):
    """Tip-Adapter's logits, number by number; ``t``: features of ``names``."""
    out = np.zeros((len(f), len(names)))
    for i in range(len(f)):
        for k, name in enumerate(names):
            out[i, k] = reference.SCALE * f[i] @ t[k]
            for key, y in zip(keys, labels, strict=True):
                if known[y] == name:
                    out[i, k] += alpha * np.exp(-beta * (1 - f[i] @ key))
    return out


def test_tip_adapter_is_its_formula_with_the_best_pair_on_validation(tmp_path):
    data = reference.given("open")
    answer = reference.answered(METHODS["tip-adapter"], tmp_path, data)
    model = reference.encoder()
    keys, val, target = (features_of(of).double().numpy() for of in (data.train, data.val, TARGET))
    t = model.text_features(data.prompts(NAMES)).double().numpy()
    more = {"keys": keys, "labels": data.train.y, "known": data.classes}
    best, pair = -1.0, None
    for beta in np.linspace(0.1, 7, 200, endpoint=False):  # 200 by 20 pairs, the lowest of equal ones first
        shown = np.exp(-beta * (1 - val @ keys.T)) @ np.eye(3)[data.train.y]
        for alpha in np.linspace(0.1, 3, 20, endpoint=False):
            right = ((reference.SCALE * val @ t[:3].T + alpha * shown).argmax(1) == data.val.y).mean()
            if right > best:
                best, pair = right, (alpha, beta)
    expected = by_loops(target, t=t, names=NAMES, alpha=pair[0], beta=pair[1], **more)
    np.testing.assert_allclose(logits_of(answer), expected, atol=1e-3)
    zero = logits_of(reference.answered(METHODS["zero-shot"], tmp_path, data))
    np.testing.assert_array_equal(logits_of(answer)[:, 3:], zero[:, 3:])  # names that the cache lacks
    assert (logits_of(answer)[:, :3] > zero[:, :3]).all()


def test_tip_adapter_f_trains_the_keys_from_the_features(tmp_path, monkeypatch):
    caught, plain = [], training.fit

    def fit(model, groups, *rest, **more):
        caught.append(groups[0][0][0].detach().clone())
        return plain(model, groups, *rest, **more)

    monkeypatch.setattr(training, "fit", fit)
    data = reference.given()
    reference.answered(METHODS["tip-adapter-f"], tmp_path, data)
    assert torch.allclose(caught[0], features_of(data.train), atol=1e-6)
    still = logits_of(reference.answered(METHODS["tip-adapter-f"], tmp_path, reference.given(steps=0)))
    untrained = logits_of(reference.answered(METHODS["tip-adapter"], tmp_path, data))
    np.testing.assert_allclose(still, untrained, atol=1e-4)


def test_zero_shot_is_the_cosine_with_the_prompts(tmp_path):
    data = reference.given()
    model, f = reference.encoder(), features_of(TARGET)
    with torch.no_grad():
        t = F.normalize(model.text.project(model.text.pool(*model.embed_tokens(data.prompts(NAMES)))), dim=1)
    expected = reference.SCALE * f @ t.T
    np.testing.assert_allclose(
        logits_of(reference.answered(METHODS["zero-shot"], tmp_path, data)), expected, atol=1e-4
    )
