"""What the rows of `controlnet` train: starts, losses, the bank, snapshots and checkpoints."""

from __future__ import annotations

import controlnet_reference as reference
import numpy as np
import pytest
import torch
from controlnet_reference import BORDER, ROWS, SMALL, answered, context, given, network

from bench.engine.context import set_seed
from bench.nn.diffusion import Diffusion, Schedule, min_snr, p2
from bench.nn.time_steps import psi
from bench.tracks.controlnet import training
from bench.tracks.controlnet.nets import unet

X, T = torch.randn(2, 3, 16, 16), torch.tensor([3, 900])
MAPS, TEXT = torch.rand(2, 3, 16, 16), torch.zeros(2, 1, SMALL.token)


def controlled():
    set_seed(0)
    return unet.Controlled(network(), 3, (16,))


def output(net):
    with torch.no_grad():
        return net.eval()(X, T, MAPS, TEXT)


def test_an_untrained_controlnet_leaves_the_output_of_the_base_as_it_is_bit_by_bit():
    before = output(unet.Uncontrolled(network()))
    assert torch.equal(output(controlled()), before)
    assert torch.allclose(output(unet.Joined(network(), 3)), before, atol=1e-6)


def test_at_first_only_the_output_convolutions_have_a_gradient_and_the_condition_s_from_the_second_step():
    net = controlled()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 1e-2)
    moved = []
    for _ in range(3):
        optimizer.zero_grad()
        net(X, T, MAPS, TEXT).square().mean().backward()
        moved.append(
            {
                n.split(".")[0]
                for n, p in net.control.named_parameters()
                if p.grad is not None and p.grad.any()
            }
        )
        optimizer.step()
    assert moved[0] == {"controlnet_down_blocks", "controlnet_mid_block"}
    assert "controlnet_cond_embedding" in moved[1]
    assert all(p.grad is None for p in net.unet.parameters())


@pytest.mark.parametrize("row", ROWS)
def test_every_row_trains_what_it_says_and_looks_when_it_is_asked(row, tmp_path):
    data = given()
    nets = []

    def base():
        nets.append(network())
        return nets[-1]

    data = type(data)(**{**_fields(data), "base": type(data.base)(**{**_fields(data.base), "unet": base})})
    answer, ctx = answered(row, tmp_path, data)
    steps = [s.step for s in ctx.history]
    assert steps == ([6] if row == "frozen" else [2, 4, 6])
    pictures = answer["sample"](reference.truth().asked, torch.Generator().manual_seed(0))
    assert pictures.shape == (8, 16, 16, 3)
    assert np.abs(pictures).max() <= 1
    before = network().state_dict()
    same = all(torch.equal(v, before[k]) for k, v in nets[0].state_dict().items() if "conv_in" not in k)
    assert same == (row != "concat")
    assert (answer["parameters"] == 0) == (row == "frozen")


def _fields(of):
    return {name: getattr(of, name) for name in of.__dataclass_fields__}


def test_one_seed_gives_one_training_and_another_gives_another(tmp_path):
    def drawn(seed):
        answer, _ = answered("diff-tuning", tmp_path, seed=seed)
        return answer["sample"](reference.truth().asked, torch.Generator().manual_seed(0))

    assert np.array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


class Killed(Exception):
    pass


def fitted(folder, die_at=None, scorer=None):
    ctx = context(folder, scorer=scorer, checkpoints=folder / "checkpoints")
    data = given(steps=7, snapshots=(3, 7))
    set_seed(1)
    net = training.start(data, ctx)
    plain, done = training.denoising(net, data), 0

    def loss(batch):
        nonlocal done
        done += 1
        if done == die_at:
            raise Killed
        return plain(batch)

    training.fit(net, loss, data, ctx)
    return net, ctx, done


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT", 2)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, *_ = fitted(tmp_path / "whole")
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", 6)
    again, ctx, done = fitted(tmp_path / "killed")
    assert done == 3
    assert same(whole, again)
    assert [s.step for s in ctx.history] == [3, 7]


def test_a_snapshot_changes_no_weight_and_no_random_state(tmp_path):
    """Nor does it see the weights of the moment: pictures are of the running average."""
    for name in ("looked", "not"):
        (tmp_path / name).mkdir()

    def scorer(answer, history):
        answer["sample"](reference.truth().asked, torch.Generator().manual_seed(9))
        torch.rand(5)
        np.random.rand(5)
        return reference.Nothing

    assert same(fitted(tmp_path / "looked", scorer=scorer)[0], fitted(tmp_path / "not")[0])


# ------------------------------------------------------------------------------------------------ the losses


class Seen:
    """A network that keeps what it was asked, and predicts nothing."""

    def __init__(self):
        self.x, self.t = [], []


@pytest.fixture
def drawn(monkeypatch):
    """Time steps and whether a picture is the bank's, of every picture that a loss is taken of."""
    seen = Seen()

    def losses(net, diffusion, of, t, generator, weight=None):
        torch.randn(of.x.shape, generator=generator)
        seen.t.append(t)
        seen.x.append(of.x.amax((1, 2, 3)) > BORDER / 127.5 - 1)
        return torch.zeros(len(t), requires_grad=True)

    monkeypatch.setattr(training, "losses", losses)
    monkeypatch.setattr(training, "optimised", lambda loss, *a, **k: loss().detach())
    return seen


def counted(row, drawn, tmp_path, steps=150):
    answered(row, tmp_path, given(steps=steps, snapshots=(), batch=10))
    return torch.cat(drawn.t).numpy(), torch.cat(drawn.x).numpy()


def test_algorithm_1_draws_t_uniformly_and_half_of_the_pictures_of_the_bank(drawn, tmp_path):
    t, bank = counted("diff-tuning", drawn, tmp_path)
    assert len(t) == 1_500
    assert np.histogram(t, 4, (0, 1000))[0] / 1_500 == pytest.approx(np.full(4, 0.25), abs=0.03)
    assert bank.mean() == pytest.approx(0.5, abs=0.03)
    # xi falls: near the data the bank's, near the noise the target's.
    assert bank[t < 100].mean() > 0.88
    assert bank[t >= 900].mean() < 0.12


def test_power_one_half_takes_a_third_of_the_bank(drawn, tmp_path):
    _, bank = counted("diff-tuning/power-0.5", drawn, tmp_path)
    assert bank.mean() == pytest.approx(1 - float(psi(0.5).mean()), abs=0.03)


def test_without_a_bank_t_is_drawn_by_psi(drawn, tmp_path):
    t, bank = counted("diff-tuning/no-bank", drawn, tmp_path)
    assert not bank.any()
    assert t.mean() == pytest.approx(1000 * 2 / 3, abs=15)


def test_the_released_law_has_a_fifth_of_the_bank_with_small_t(drawn, tmp_path):
    t, bank = counted("diff-tuning/code", drawn, tmp_path)
    assert bank.mean() == pytest.approx(0.2)
    assert t[~bank].mean() == pytest.approx(1000 * 2 / 3, abs=15)
    assert t[bank].mean() == pytest.approx(1000 / 3, abs=25)


def test_the_curriculum_begins_near_the_noise_and_ends_uniform(drawn, tmp_path):
    t, bank = counted("diff-tuning/curriculum", drawn, tmp_path)
    assert not bank.any()
    assert t[:40].min() >= 750
    assert t[750:].mean() == pytest.approx(500, abs=30)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("weight", [min_snr, p2])
def test_a_weight_of_the_error_in_the_noise_is_turned_into_one_of_what_is_predicted(weight, prediction):
    t = torch.tensor([10, 400, 900])
    diffusion = Diffusion(Schedule(betas="squaredcos_cap_v2", prediction=prediction))
    x, noise, wrong = torch.randn(3, 3, 3, 4, 4).double().unbind(0)
    noised, own = diffusion.noised(x, noise, t), diffusion.target(x, noise, t)
    a = diffusion.alphas[t].view(-1, 1, 1, 1)
    as_noise = {
        "epsilon": own + wrong,
        "v_prediction": (1 - a).sqrt() * noised + a.sqrt() * (own + wrong),
        "sample": (noised - a.sqrt() * (own + wrong)) / (1 - a).sqrt(),
    }[prediction]
    in_noise = (as_noise - noise).square().flatten(1).mean(1)
    found = training.in_own_terms(diffusion, t, weight) * wrong.square().flatten(1).mean(1)
    assert found.numpy() == pytest.approx((weight(diffusion.snr(t)) * in_noise).numpy(), rel=1e-3)
