"""Noising, losses and sampling against closed forms: a point and a Gaussian have an exact denoiser."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from bench.nn import diffusion as df
from bench.nn.averaging import ExponentialAverage
from bench.nn.diffusion import Diffusion, Sampling, Schedule, sample
from bench.nn.time_steps import draw, psi
from bench.tracks.dit_transfer.nets.dit import DiT, DiTConfig

SHAPE = (3, 4, 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points(diffusion, means, kind="epsilon"):
    """The exact network when every picture of condition y is ``means[y]``."""

    def predict(x, t, y):
        a = diffusion.alphas[t].float()[:, None, None, None]
        m = means[y][:, None, None, None].expand_as(x)
        noise = (x - a.sqrt() * m) / (1 - a).sqrt()
        return {"epsilon": noise, "sample": m, "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * m}[kind]

    return predict


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_noised_pictures_keep_unit_variance(betas):
    d = Diffusion(Schedule(betas=betas))
    g = generator()
    x, noise = torch.randn(2, 200, 3, 16, 16, generator=g)
    t = torch.randint(1000, (200,), generator=g)
    noised = d.noised(x, noise, t)
    assert noised.var().item() == pytest.approx(1, abs=0.02)
    a = d.alphas[t][:, None, None, None].float()
    assert torch.allclose(noised, a.sqrt() * x + (1 - a).sqrt() * noise, atol=1e-4)
    assert (d.alphas[1:] < d.alphas[:-1]).all()
    assert d.snr(t) == pytest.approx((d.alphas[t] / (1 - d.alphas[t])).float())


def test_dits_schedule():
    d = Diffusion()
    assert d.alphas[0].item() == pytest.approx(1 - 1e-4)
    assert d.alphas[-1].item() == pytest.approx(4.04e-5, rel=0.01)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_the_exact_network_has_no_loss_and_samples_what_it_knows(kind):
    d = Diffusion(Schedule(prediction=kind))
    means = torch.tensor([-0.5, 0.25, 0.0])
    network, g = points(d, means, kind), generator()
    y = torch.tensor([0, 1, 1, 0])
    x = means[y][:, None, None, None].expand(-1, *SHAPE)
    noise = torch.randn(x.shape, generator=g)
    t = torch.tensor([5, 300, 700, 999])
    assert d.losses(network, x, y, t, noise).max() < 1e-6
    off = d.losses(lambda *a: network(*a) + 0.5, x, y, t, noise)
    assert off == pytest.approx(torch.full((4,), 0.25), rel=1e-3)
    drawn = sample(network, d, y, 2, SHAPE, generator(), Sampling(guidance=1))
    assert torch.allclose(drawn, x, atol=1e-4)


def test_a_gaussian_is_drawn_with_its_deviation():
    d, m, s = Diffusion(), 0.1, 0.3

    def network(x, t, y):
        a = d.alphas[t].float()[:, None, None, None]
        return (1 - a).sqrt() * (x - a.sqrt() * m) / (a * s * s + 1 - a)

    drawn = sample(
        network,
        d,
        torch.zeros(400, dtype=torch.int64),
        1,
        SHAPE,
        generator(),
        Sampling(steps=250, clip=False, guidance=1),
    )
    assert drawn.mean().item() == pytest.approx(m, abs=0.01)
    assert drawn.std().item() == pytest.approx(s, rel=0.03)
    noise = torch.randn((400, *SHAPE), generator=generator())
    assert torch.corrcoef(torch.stack([drawn.flatten(), noise.flatten()]))[0, 1] > 0.999


def test_guidance_moves_away_from_the_null_condition():
    d = Diffusion()
    network = points(d, torch.tensor([0.3, -0.2, 0.1]))
    y = torch.tensor([0, 1])
    for w in (0.0, 1.0, 1.5, 3.0):
        drawn = sample(network, d, y, 2, SHAPE, generator(), Sampling(guidance=w, clip=False))
        expected = torch.tensor([0.1 + w * 0.2, 0.1 - w * 0.3])
        assert torch.allclose(drawn.mean((1, 2, 3)), expected, atol=1e-3), w
        assert drawn.std(dim=(1, 2, 3)).max() < 1e-3
    few = sample(network, d, y, 2, SHAPE, generator(), Sampling(guidance=3, guided_channels=2, clip=False))
    assert torch.allclose(few[0].mean((1, 2)), torch.tensor([0.7, 0.7, 0.3]), atol=1e-3)
    cut = sample(network, d, y, 2, SHAPE, generator(), Sampling(guidance=8, clip=True))
    assert cut[0].min().item() == cut[0].max().item() == 1.0


@pytest.mark.parametrize("clip", [True, False])
def test_steps_go_on_from_the_picture_that_was_cut(clip):
    """DDIM written out: the noise that goes on is that of the cut picture, not the one predicted."""
    d = Diffusion()
    noise = torch.randn((3, *SHAPE), generator=generator())

    def network(x, t, y):
        return 0.7 * x + 0.1

    x, steps = noise.double(), [999, 749, 499, 249]
    for t, after in zip(steps, [*d.alphas[steps[1:]].tolist(), 1.0], strict=True):
        a = d.alphas[t].item()
        clean = (x - math.sqrt(1 - a) * network(x, t, None)) / math.sqrt(a)
        clean = clean.clamp(-1, 1) if clip else clean
        x = math.sqrt(after) * clean + math.sqrt(1 - after) * (x - math.sqrt(a) * clean) / math.sqrt(1 - a)
    y = torch.zeros(3, dtype=torch.int64)
    drawn = sample(network, d, y, 1, SHAPE, generator(), Sampling(steps=4, clip=clip, guidance=1))
    assert torch.allclose(drawn, x.float(), rtol=1e-3, atol=1e-4)


def test_a_condition_may_be_any_tensor():
    d = Diffusion()

    def network(x, t, y):
        return points(d, y[:, 0])(x, t, torch.arange(len(y)))

    y = torch.tensor([[0.5, 1.0], [-0.5, 2.0], [0.25, 0.0]])
    drawn = sample(
        network, d, y, torch.tensor([0.0, 0.0]), SHAPE, generator(), Sampling(guidance=1.2, batch=2)
    )
    assert torch.allclose(drawn.mean((1, 2, 3)), 1.2 * y[:, 0], atol=1e-3)


def test_the_noise_is_of_the_generator_alone():
    """Another network, batch size, guidance: the same noise, and the generator left at the same place."""
    d, seen, after = Diffusion(), [], []

    def network(scale):
        def predict(x, t, y):
            if t[0] == 999:
                seen[-1].append(x[: len(x) // (2 if how.guidance != 1 else 1)])
            return scale * torch.randn_like(x)

        return predict

    for scale, how in (
        (0.1, Sampling()),
        (2.0, Sampling(batch=3)),
        (1.0, Sampling(guidance=1, steps=5, batch=7)),
    ):
        g = generator(4)
        seen.append([])
        sample(network(scale), d, torch.zeros(11, dtype=torch.int64), 1, SHAPE, g, how)
        after.append(torch.rand(1, generator=g))
    assert all(torch.equal(torch.cat(s), torch.cat(seen[0])) for s in seen)
    assert len(torch.cat(seen[0])) == 11
    assert len({v.item() for v in after}) == 1


def test_variances_are_left_out_of_sampling():
    d = Diffusion()
    network = points(d, torch.tensor([0.3, -0.2, 0.1]))
    y = torch.tensor([0, 1])
    both = [sample(n, d, y, 2, SHAPE, generator(), Sampling()) for n in
            (network, lambda x, t, y: torch.cat([network(x, t, y), torch.full_like(x, 9)], 1))]  # fmt: skip
    assert torch.equal(*both)


def test_what_cannot_be_sampled():
    d, y = Diffusion(), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="30 steps do not divide"):
        sample(points(d, torch.zeros(2)), d, y, 1, SHAPE, generator(), Sampling(steps=30))
    assert sample(points(d, torch.zeros(2)), d, y[:0], 1, SHAPE, generator()).shape == (0, *SHAPE)


def test_of_no_conditions_nothing_is_drawn_and_no_network_is_asked():
    none = torch.zeros(0, dtype=torch.int64)
    found = sample(lambda x, t, y: pytest.fail("asked"), Diffusion(), none, 0, SHAPE, generator())
    assert found.shape == (0, *SHAPE)


def test_labels_are_dropped_at_their_rate_and_once():
    y = torch.arange(20_000) % 8
    dropped = df.drop_labels(y, 8, 0.1, generator())
    rate = (dropped == 8).float().mean().item()
    assert abs(rate - 0.1) < 4 * math.sqrt(0.09 / 20_000)
    assert torch.equal(dropped[dropped != 8], y[dropped != 8])
    assert torch.equal(dropped, df.drop_labels(y, 8, 0.1, generator()))
    assert torch.equal(df.drop_labels(y, 8, 0.0, generator()), y)
    assert (df.drop_labels(y, 8, 1.0, generator()) == 8).all()


def test_a_dropped_label_is_dropped_in_every_block():
    torch.manual_seed(0)
    model = DiT(DiTConfig(size=8, layers=3, width=32, heads=2, classes=4)).train()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    asked = []
    model.labels.register_forward_hook(lambda m, a, o: asked.append(a[0].clone()))
    y = df.drop_labels(torch.zeros(64, dtype=torch.int64), model.null, 0.3, generator())
    model(torch.randn(64, 3, 8, 8), torch.zeros(64, dtype=torch.int64), y)
    assert len(asked) == 4  # three blocks and the output
    assert all(torch.equal(labels, y) for labels in asked)
    assert 0 < (y == 4).sum() < 64


def test_weights_of_losses():
    snr = torch.tensor([0.01, 1.0, 5.0, 50.0])
    assert df.min_snr(snr).tolist() == pytest.approx([1, 1, 1, 0.1])
    assert df.min_snr(snr, divided=False).tolist() == pytest.approx([0.01, 1, 5, 5])
    assert df.p2(snr).tolist() == pytest.approx([1.01**-0.5, 2**-0.5, 6**-0.5, 51**-0.5])
    assert df.p2(snr, gamma=1.0, k=2.0).tolist() == pytest.approx([1 / 2.01, 1 / 3, 1 / 7, 1 / 52])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_bound_is_the_divergence_of_the_reverse_steps(kind):
    d, g = Diffusion(Schedule(prediction=kind)), generator()
    x = torch.rand((5, *SHAPE), generator=g) * 2 - 1
    noise, share = torch.randn((2, 5, *SHAPE), generator=g)
    t = torch.tensor([1, 2, 100, 500, 999])
    noised, predicted = d.noised(x, noise, t), d.target(x, noise, t) + 0.1
    found = d.bound(predicted, share.tanh(), x, noised, t)
    for i, step in enumerate(t.tolist()):
        beta = 1 - (d.alphas[step] / d.alphas[step - 1]).item()
        a, before = d.alphas[step].item(), d.alphas[step - 1].item()
        variance = beta * (1 - before) / (1 - a)
        log = 0.5 * (math.log(beta) + math.log(variance)) + 0.5 * share[i].tanh() * (
            math.log(beta) - math.log(variance)
        )
        mean = (math.sqrt(before) * beta * x[i] + math.sqrt(1 - beta) * (1 - before) * noised[i]) / (1 - a)
        off = {"epsilon": -math.sqrt(1 - a) / math.sqrt(a), "v_prediction": -math.sqrt(1 - a)}[kind] * 0.1
        guess = mean + math.sqrt(before) * beta / (1 - a) * off
        kl = kl_divergence(Normal(mean, math.sqrt(variance)), Normal(guess, (0.5 * log).exp()))
        assert found[i].item() == pytest.approx(kl.mean().item() / math.log(2), rel=0.01, abs=1e-5), step
    perfect = d.bound(d.target(x, noise, t), torch.full_like(x, -1.0), x, noised, t)
    assert perfect.abs().max() < 1e-3


def test_the_bound_of_the_first_step_is_a_probability():
    """Over all 256 values of a pixel the probabilities are one."""
    d = Diffusion()
    values = torch.arange(256) / 127.5 - 1
    x = values.reshape(-1, 1, 1, 1)
    noised = torch.full_like(x, 0.7012)
    t = torch.zeros(256, dtype=torch.int64)
    a = d.alphas[0].float()
    # A network that takes 0.7 for the clean value, whatever it is shown.
    noise = (noised - a.sqrt() * 0.7) / (1 - a).sqrt()
    beta = 1 - (d.alphas[1] / d.alphas[0]).item()
    second = beta * (1 - d.alphas[0].item()) / (1 - d.alphas[1].item())  # the first step has no variance
    for share, variance in ((1.0, 1 - a.item()), (-1.0, second)):
        bits = d.bound(noise, torch.full_like(x, share), x, noised, t)
        assert (2.0**-bits).sum().item() == pytest.approx(1, abs=1e-3)
        best = values[bits.argmin()].item()
        assert best == pytest.approx(0.7, abs=1 / 127)
        cdf = Normal(0.7, variance**0.5).cdf(torch.tensor([best - 1 / 255, best + 1 / 255]))
        assert 2.0 ** -bits.min().item() == pytest.approx((cdf[1] - cdf[0]).item(), rel=1e-3)


def test_learned_variances_add_the_bound_without_moving_the_mean():
    d, g = Diffusion(), generator()
    x, noise = torch.randn((2, 4, *SHAPE), generator=g)
    t, y = torch.tensor([0, 3, 400, 999]), torch.zeros(4, dtype=torch.int64)
    mean, share = (torch.zeros_like(x, requires_grad=True) for _ in range(2))
    both = d.losses(lambda *_: torch.cat([mean, share], 1), x, y, t, noise)
    alone = d.losses(lambda *_: mean, x, y, t, noise)
    bound = d.bound(mean.detach(), share, x, d.noised(x, noise, t), t)
    assert torch.allclose(both, alone + bound)
    # A weight is of the squared error and leaves the bound as it is.
    weight = torch.tensor([0.0, 0.5, 3.0, 1.0])
    weighted = d.losses(lambda *_: torch.cat([mean, share], 1), x, y, t, noise, weight)
    assert torch.allclose(weighted, weight * alone + bound)
    (of_both,) = torch.autograd.grad(both.sum(), mean, retain_graph=True)
    (of_alone,) = torch.autograd.grad(alone.sum(), mean)
    assert torch.equal(of_both, of_alone)
    assert torch.autograd.grad(both.sum(), share)[0].abs().sum() > 0


def test_two_networks_on_one_chain():
    d = Diffusion()
    first, second = points(d, torch.tensor([0.5, 0.0])), points(d, torch.tensor([-0.25, 0.0]))
    y = torch.zeros(3, dtype=torch.int64)
    used = []

    def spied(name, network):
        def predict(x, t, y):
            used.append((name, int(t[0])))
            return network(x, t, y)

        return predict

    how = Sampling(guidance=1)
    drawn = sample(
        df.relay(spied("noisy", first), spied("clean", second), 400), d, y, 1, SHAPE, generator(), how
    )
    assert torch.allclose(drawn, torch.full_like(drawn, -0.25), atol=1e-3)
    assert all((name == "noisy") == (t >= 400) for name, t in used)
    assert len(used) == 20
    assert used[0] == ("noisy", 999)
    only = sample(df.relay(first, second, 0), d, y, 1, SHAPE, generator(), how)
    assert torch.equal(only, sample(first, d, y, 1, SHAPE, generator(), how))


def test_pictures_and_tensors():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    pictures.flags.writeable = False
    x = df.from_pictures(pictures)
    assert x.shape == (3, 3, 5, 7)
    assert (x.min() >= -1) & (x.max() <= 1)
    assert np.array_equal(df.to_pictures(x), pictures)
    assert df.to_pictures(torch.tensor([-7.0, -1.0, 1.0, 3.0]).reshape(4, 1, 1, 1).expand(4, 3, 1, 1))[
        :, 0, 0, 0
    ].tolist() == [0, 0, 255, 255]


def test_a_network_learns_two_classes_with_both_terms_of_diff_tuning():
    """All parts together: laws, dropped labels, a bank without labels, an average of weights, guidance."""
    torch.manual_seed(0)
    model, g = DiT(DiTConfig(size=4, layers=2, width=32, heads=2, classes=2)), generator()
    d = Diffusion(Schedule(prediction="sample"))  # learnt in few steps, unlike noise
    means = torch.tensor([-0.6, 0.6])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    average = ExponentialAverage(model.parameters(), 0.95)
    first = None
    for _ in range(100):
        y = torch.randint(2, (32,), generator=g)
        x = means[y][:, None, None, None].expand(-1, *SHAPE)
        terms = []
        for law, labels, share in ((psi(), y, 0.1), (psi().flip(0), y, 1.0)):
            t = draw(law, 32, g)
            noise = torch.randn(x.shape, generator=g)
            losses = d.losses(model, x, df.drop_labels(labels, model.null, share, g), t, noise)
            terms.append(losses.mean())
        loss = terms[0] + 0.1 * terms[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update()
        first = first or loss.item()
    assert loss.item() < 0.5 * first
    with average.applied():
        drawn = sample(model, d, torch.tensor([0, 1] * 8), model.null, SHAPE, generator(), Sampling())
    mean = drawn.mean((1, 2, 3)).reshape(8, 2)
    assert (mean[:, 0] < -0.2).all()
    assert (mean[:, 1] > 0.2).all()
