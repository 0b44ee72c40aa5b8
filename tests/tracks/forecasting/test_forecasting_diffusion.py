"""The networks of `forecasting`: how they are trained, resumed and sampled, and CogDPM's weights."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging

import forecasting_toy as toy
import numpy as np
import pytest
import torch

from bench.contract import BenchError
from bench.engine.context import RunStageContext, set_seed
from bench.registry import methods_in
from bench.tracks.forecasting import settings, stages, training
from bench.tracks.forecasting.nets.diffusing import Forecaster
from bench.tracks.forecasting.nets.recurrent import ConvLSTM, PredRNN
from bench.tracks.forecasting.rows.forecasts import observed
from bench.tracks.forecasting.track import TRACK
from bench.tracks.forecasting.training import Windows

COGDPM = importlib.import_module("bench.methods.cogdpm")
(DECLARED,) = methods_in(COGDPM)
DEEP = ("unet", "conv_lstm", "pred_rnn")


@pytest.fixture(scope="module")
def forecaster():
    set_seed(0)
    found = Forecaster(Windows(toy.blobs()), "cpu")
    found.net.eval()
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The stage of the first seed as the engine builds it."""
    folder = tmp_path_factory.mktemp("stage")
    (stage,) = stages.network(toy.TASK, toy.RUN)
    params = json.loads(json.dumps(dict(stage.params)))
    stage.build(RunStageContext(folder, params, 0, 0, "cpu", logging.getLogger("toy")))
    return folder


def sampled(forecaster, weight, *, seed=0, members=2, k=5):
    data = forecaster.windows.data
    return forecaster.sample(
        observed(data.test, data), members=members, steps=4, seed=seed, weight=weight, k=k
    ).members


def test_weight_0_is_the_unconditional_network_bit_for_bit(forecaster):
    """Whose forecast of a change is the same whatever frames it is shown."""
    data = forecaster.windows.data
    frames = observed(data.test, data)
    one = sampled(forecaster, lambda estimates, t: 0.0)
    without = forecaster.net.forward
    try:
        forecaster.net.forward = lambda x, t, c: without(x, t, torch.zeros_like(c))
        alone = sampled(forecaster, None)
    finally:
        del forecaster.net.forward
    np.testing.assert_array_equal(one, alone)
    assert np.isfinite(one).all()
    assert one.shape == (len(frames), 2, *data.train.targets.shape[1:])


def test_a_uniform_array_of_weights_is_constant_guidance_bit_for_bit(forecaster):
    def uniform(estimates, t):
        return torch.full_like(estimates[-1], 1.25) if estimates else 1.25

    constant = sampled(forecaster, lambda estimates, t: 1.25)
    np.testing.assert_array_equal(sampled(forecaster, uniform), constant)
    assert not np.array_equal(constant, sampled(forecaster, None))


def test_noise_depends_on_seed_window_and_member_alone(forecaster):
    both = sampled(forecaster, None)
    np.testing.assert_allclose(sampled(forecaster, None, members=1)[:, 0], both[:, 0], atol=1e-5)
    assert not np.array_equal(sampled(forecaster, None, seed=1), both)


def test_the_weight_sees_the_last_k_estimates(forecaster):
    seen = []
    sampled(forecaster, lambda estimates, t: seen.append(len(estimates)) or 1.0, k=2)
    assert seen == [0, 1, 2, 2]


# ---------------------------------------------------------------------------------------- CogDPM's weights


def guidance(w=1.5, form="clip", place="own", k=2, w_max=3.0):
    return COGDPM.Guidance({"form": form, "place": place}, w, k, w_max, seed=0)


def drawn(k=2):
    return [torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(k)]


def test_until_there_are_k_estimates_the_weight_is_the_constant():
    assert guidance().weight()(drawn(1), 0) == 1.5


@pytest.mark.parametrize("w", [0.5, 0.75, 1.25, 1.5])
def test_lambda_gives_the_mean_weight_that_was_asked_for(w):
    g, U = guidance(w), torch.stack(drawn()).var(0, correction=0)
    scale = COGDPM._root(lambda s: float(g.of(U, s).mean()), w)
    found = g.of(U, scale)
    assert float(found.mean()) == pytest.approx(w, abs=1e-4)
    assert (found.min() >= 1) if w > 1 else (found.max() <= 1)
    largest, smallest = U.flatten().argmax(), U.flatten().argmin()
    assert (found.flatten()[largest] > found.flatten()[smallest]) == (w > 1)


def test_ranks_have_the_constant_for_their_mean_and_rise_with_the_variance():
    g, U = guidance(form="rank"), torch.stack(drawn()).var(0, correction=0)
    found = g.weight()(drawn(), 0)
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.full((2,), 1.5))
    assert (found[0].flatten().argsort() == U[0].flatten().argsort()).all()


@pytest.mark.parametrize("place", ["inverted", "shuffled"])
def test_controls_have_the_same_variances_at_other_places(place):
    U = torch.stack(drawn()).var(0, correction=0)
    found = guidance(place=place)._placed(U)
    torch.testing.assert_close(found.flatten(1).sort(1).values, U.flatten(1).sort(1).values)
    assert not torch.equal(found, U)
    if place == "inverted":
        assert (found[0].flatten().argsort() == U[0].flatten().argsort().flip(0)).all()


@pytest.mark.parametrize("row", DECLARED.rows())
def test_every_row_answers_from_the_shared_network(row, built, tmp_path):
    data, ctx = toy.blobs(), toy.context(tmp_path, stages={stages.NETWORK: built})
    hp = DECLARED.hp_of(row)
    found = DECLARED.fn(data, {**hp, "k": 2}, ctx)
    assert found["test"].shape == (3, 3, data.leads.size, *data.test.shape[2:])
    assert found["precision"].shape == (3, data.leads.size, *data.test.shape[3:])
    assert np.isfinite(found["test"].values).all()
    ablation = "/" in row and row not in ("cogdpm/constant", "cogdpm/unguided")
    assert ("val" in found) != ablation, "ablations are not chosen on validation"
    said = [set(point) & {"w", "scale", "mean_on_validation", "mean_on_test"} for point in ctx.curve]
    means = {"w", "mean_on_validation", "mean_on_test"}
    assert said == {"none": [], "constant": [{"w"}], "rank": [means], "clip": [means | {"scale"}]}[hp["form"]]
    if hp["form"] in ("clip", "rank"):
        assert ctx.curve[0]["mean_on_validation"] == pytest.approx(ctx.curve[0]["w"], abs=0.02)


def test_a_weight_of_0_is_not_taken_for_none(built, tmp_path):
    """It is the unconditional network, not the weight that was best on validation."""
    answers = []
    for w in (0, None):
        ctx = toy.context(tmp_path, stages={stages.NETWORK: built})
        hp = {**DECLARED.hp_of("cogdpm/constant"), "w": w, "val": False}
        answers.append(DECLARED.fn(toy.blobs(), hp, ctx)["test"].values)
        assert (ctx.curve[0]["w"] == 0) == (w == 0)
    assert not np.array_equal(*answers)


def test_a_chain_too_short_for_its_estimates_is_named(built, tmp_path):
    ctx = toy.context(tmp_path, stages={stages.NETWORK: built})
    with pytest.raises(BenchError, match="a chain of 4 steps has no weights by 5 estimates"):
        DECLARED.fn(toy.blobs(), DECLARED.hp_of("cogdpm"), ctx)


def test_each_seed_has_a_network_of_its_own():
    (stage,) = stages.network(toy.TASK, toy.RUN)
    assert stage.of_seed(0).address != stage.of_seed(1).address
    facts = stage.of_seed(1)
    assert (facts.seed, facts.shards) == (1, 1)


def test_networks_of_the_papers_data_are_trained_on_a_gpu(tmp_path, monkeypatch):
    """A stage has needs of its own, not those of the rows that wait for it."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    needs = {}
    for name in ("storm", "uk-radar"):
        (task,) = TRACK.tasks(TRACK.Grid(tasks=(name,)))
        (stage,) = stages.network(task, settings.Run())
        needs[name] = stage.needs
    assert (needs["storm"].gpu, needs["uk-radar"].gpu) == (0, 1)
    assert needs["uk-radar"].minutes > needs["storm"].minutes


def test_the_weight_of_guidance_is_the_best_of_those_tried_on_validation(built):
    facts = json.loads((built / stages.FACTS).read_text())
    tried = {float(w): v for w, v in facts["crps"].items()}
    assert set(tried) == set(toy.blobs().recipe.assumed.guidance)
    assert tried[facts["best"]] == min(tried.values())


def test_a_run_sets_the_steps_of_every_network_and_a_recipe_those_of_each_kind():
    r = settings.recipe("rain", settings.Run())
    assert settings.recipe("rain", settings.Run(windows=5)).assumed == r.assumed
    own = settings.recipe("rain", settings.Run(steps=7, lr=0.5)).assumed
    assert (own.steps, own.regression_steps, own.lr, own.regression_lr) == (7, 7, 0.5, 0.5)


# ----------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("name", DEEP)
def test_deterministic_networks_answer_with_one_member(name, tmp_path):
    (m,) = methods_in(importlib.import_module(f"bench.baselines.forecasting.{name}"))
    data, ctx = toy.blobs(), toy.context(tmp_path)
    set_seed(ctx.seed)
    found = m.fn(data, m.hp_of(m.id), ctx)
    assert found["test"].shape == (3, 1, data.leads.size, *data.test.shape[2:])
    assert found["parameters"] > 1000


@pytest.mark.parametrize("make", [ConvLSTM, PredRNN])
def test_recurrent_networks_forecast_the_change_since_the_last_frame(make):
    set_seed(0)
    net = make(2, 3, width=8)
    torch.nn.init.zeros_(net.out.weight)
    torch.nn.init.zeros_(net.out.bias)
    frames = torch.randn(2, 4, 2, 8, 8)
    torch.testing.assert_close(net(frames), torch.zeros(2, 6, 8, 8))


def test_batches_depend_on_seed_and_step_alone(tmp_path):
    windows, ctx = Windows(toy.blobs()), toy.context(tmp_path)
    whole = list(windows.batches(ctx, 4, range(3)))
    (last,) = windows.batches(ctx, 4, range(2, 3))
    torch.testing.assert_close(last.frames, whole[2].frames)


def test_what_was_not_observed_does_not_count_in_the_loss(tmp_path):
    data = toy.blobs()
    targets = data.train.targets.copy(deep=True)
    targets[:, :, :, :, :8] = np.nan
    windows = Windows(dataclasses.replace(data, train=dataclasses.replace(data.train, targets=targets)))
    (batch,) = windows.batches(toy.context(tmp_path), 4, range(1))
    assert not batch.seen[..., :8].any()
    loss = training.regression(lambda frames: batch.change + (1 - batch.seen) * 100)
    assert float(loss(batch)) == 0


def test_the_scale_of_networks_leads_back_to_the_targets():
    data = toy.blobs()
    windows = Windows(data)
    found = windows.forecast(windows.change, data.train.inputs.values)
    np.testing.assert_allclose(found, data.train.targets.values, atol=1e-5)
