"""The networks of `multi_domain` against written-out sums and torch-rechub's layers, forward and backward."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_rechub.models.multi_task.mmoe import MMOE
from torch_rechub.models.multi_task.ple import CGC

from bench.contract import BenchError
from bench.tracks.multi_domain.nets import adversarial, bodies
from bench.tracks.multi_domain.nets.experts import Experts, Progressive
from bench.tracks.multi_domain.nets.group_weights import GroupWeights
from bench.tracks.multi_domain.nets.heads import MultiHead, Plain, Separate
from bench.tracks.multi_domain.nets.routing import copies, routed
from bench.tracks.multi_domain.nets.star import PartitionedNorm, Star

FIELDS = (3, 4)
W, T = 5, 3


def body(tower=(4,)):
    return bodies.table(FIELDS, dim=2, hidden=(6, W), tower=tower)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def rows():
    """Inputs (B, F), domains in no order, one of them with a single row."""
    return torch.stack([torch.randint(0, c, (9,)) for c in FIELDS], 1), torch.tensor(
        [2, 0, 0, 2, 1, 0, 2, 0, 0]
    )


def same(a, b, modules):
    """Values and the gradients of every parameter."""
    torch.testing.assert_close(a, b)
    parameters = list(modules.parameters())
    weights = torch.randn_like(a)
    one, other = (torch.autograd.grad((z * weights).sum(), parameters, allow_unused=True) for z in (a, b))
    for g, h in zip(one, other, strict=True):
        assert (g is None) == (h is None)
        if g is not None:
            torch.testing.assert_close(g, h)


# ------------------------------------------------------------------------------------------- bodies, routing


def test_a_field_has_its_own_part_of_the_table():
    stem = bodies.Fields((2, 3), 4)
    x = torch.tensor([[1, 0], [0, 2]])
    table = stem.table.weight
    assert table.shape == (5, 4)
    assert torch.equal(
        stem(x), torch.stack([torch.cat([table[1], table[2]]), torch.cat([table[0], table[4]])])
    )


def test_an_expert_and_a_head_are_new_each_time():
    b = body()
    assert not torch.equal(b.expert()[0].weight, b.trunk[0].weight)
    assert not torch.equal(b.head()[0].weight, b.head()[0].weight)
    assert b.expert(W)[0].in_features == W


def test_pretrained_batch_norms_stay_as_they_are():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1)
    )
    network.append(nn.Flatten())
    network.num_features = 4
    stem = bodies.Pretrained(network, ((0.5,) * 3, (0.5,) * 3), frozen=("0",))
    stem.train()
    x = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8)
    out = stem(x)
    assert torch.equal(network[1].running_mean, torch.zeros(4))
    assert torch.allclose(out, network(x.permute(0, 3, 1, 2) / 127.5 - 1), atol=1e-5)
    assert [p.requires_grad for p in network.parameters()] == [False, False, True, True, True, True]


def test_weights_of_another_network_are_an_error_that_names_the_file(tmp_path):
    file = tmp_path / "resnet50.pth"
    with pytest.raises(BenchError, match=r"resnet50\.pth: no such file"):
        bodies.resnet("resnet10t", file, 3, width=4)
    file.write_text("no weights")
    with pytest.raises(BenchError, match=r"resnet50\.pth: not a file of weights"):
        bodies.resnet("resnet10t", file, 3, width=4)
    torch.save({"conv1.weight": torch.zeros(1)}, file)
    with pytest.raises(BenchError, match=r"resnet50\.pth: weights of another network: "):
        bodies.resnet("resnet10t", file, 3, width=4)


def test_a_resnet_takes_a_file_of_either_format_without_its_classifier(tmp_path):
    import timm
    from safetensors.torch import save_file

    network = timm.create_model("resnet10t", pretrained=False)
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    torch.save(network.state_dict(), tmp_path / "a.pth")
    x = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    network.eval()
    pixels = (
        x.permute(0, 3, 1, 2) / 255 - torch.tensor((0.485, 0.456, 0.406))[:, None, None]
    ) / torch.tensor((0.229, 0.224, 0.225))[:, None, None]
    expected = network.forward_head(network.forward_features(pixels), pre_logits=True)
    for file in ("a.safetensors", "a.pth"):
        b = bodies.resnet("resnet10t", tmp_path / file, 3, width=4).eval()
        torch.testing.assert_close(b.stem(x), expected)
        assert b.head()(b(x)).shape == (2, 3)


def test_rows_go_through_their_own_part_and_come_back_in_order(rows):
    x, d = rows
    parts = [nn.Linear(2, 4) for _ in range(T + 1)]  # the last has no row
    out = routed(parts, d, x.float())
    expected = torch.stack([parts[int(t)](r) for t, r in zip(d, x.float(), strict=True)])
    same(out, expected, nn.ModuleList(parts))
    assert torch.equal(routed(parts[:1], d, x.float()), parts[0](x.float()))


# ------------------------------------------------------------------------------------------------ multi-head


def test_multi_head_is_each_domains_head_on_common_features(rows):
    x, d = rows
    b = body()
    net = MultiHead(Plain(b), [b.head() for _ in range(T)])
    expected = torch.cat([net.heads[int(t)](b.trunk(b.stem(r[None]))) for r, t in zip(x, d, strict=True)])
    same(net(x, d), expected, net)


def test_separate_networks_have_nothing_in_common(rows):
    x, d = rows
    net = Separate(body() for _ in range(T))
    expected = torch.cat([net.networks[int(t)](r[None]) for r, t in zip(x, d, strict=True)])
    same(net(x, d), expected, net)
    net(x[d == 1], d[d == 1]).sum().backward()
    assert all((p.grad is None) == (t != 1) for t in range(T) for p in net.networks[t].parameters())


def test_split_heads_are_copies_that_part(rows):
    x, d = rows
    b = body()
    net = MultiHead(Experts(b, 2, gates=1), [b.head()])
    before = net(x, d)
    net.split(T)
    assert (len(net.heads), len(net.psi.gates)) == (T, T)
    torch.testing.assert_close(net(x, d), before)
    with torch.no_grad():
        net.heads[0][0].weight.zero_()
        net.psi.gates[0].weight.zero_()
    changed = (net(x, d) - before).abs().flatten() > 1e-6
    assert not changed[d != 0].any()


# ------------------------------------------------------------------------------------- mixtures of experts


def test_mmoe_is_the_written_out_sum(rows):
    x, d = rows
    b = body()
    net = MultiHead(Experts(b, 3, gates=T), [b.head() for _ in range(T)])
    expected = []
    for r, t in zip(x, d.tolist(), strict=True):
        s = torch.cat([b.stem.table.weight[r[0]], b.stem.table.weight[FIELDS[0] + r[1]]])
        scores = torch.exp(net.psi.gates[t].weight @ s)
        f = sum(g * e(s) for g, e in zip(scores / scores.sum(), net.psi.experts, strict=True))
        expected.append(net.heads[t](f))
    same(net(x, d), torch.stack(expected), net)


def test_one_expert_and_one_domain_is_the_plain_network(rows):
    x, d = rows
    b = body()
    plain = MultiHead(Plain(b), [b.head()])
    mixture = MultiHead(Experts(b, 1, gates=1), plain.heads)
    same(mixture(x, d * 0), plain(x, d * 0), plain)


def filled(ours, theirs):
    """The weights of our perceptron, put into torch-rechub's, whose batch norms are made to do nothing."""
    linear = [m for m in theirs.modules() if isinstance(m, nn.Linear)]
    mine = [m for m in ours.modules() if isinstance(m, nn.Linear)]
    for a, b in zip(mine, linear, strict=True):
        b.weight = a.weight
        if a.bias is not None:
            b.bias = a.bias
        else:
            b.bias.data.zero_()
    for m in theirs.modules():
        if isinstance(m, nn.BatchNorm1d):
            m.eps = 0.0
    theirs.eval()


def test_mmoe_is_torch_rechubs(rows):
    """Theirs answers all tasks for every row; ours must be the row's own task's answer."""
    x, d = rows
    b = body(tower=())
    net = MultiHead(Experts(b, 3, gates=T), [b.head() for _ in range(T)])
    theirs = MMOE([], ["regression"] * T, 0, {"dims": [1]}, [{"dims": []}] * T)
    theirs.experts = nn.ModuleList(mlp(b.stem.width, [6, W], "relu") for _ in range(3))
    theirs.gates = nn.ModuleList(mlp(b.stem.width, [3], "softmax") for _ in range(T))
    theirs.towers = nn.ModuleList(nn.Linear(W, 1) for _ in range(T))
    theirs.embedding = Given()
    for ours, other in (
        (net.psi.experts, theirs.experts),
        (net.psi.gates, theirs.gates),
        (net.heads, theirs.towers),
    ):
        for o, t in zip(ours, other, strict=True):
            filled(o, t)
    theirs.eval()
    every = theirs(b.stem(x))
    same(net(x, d)[:, 0], every[torch.arange(len(d)), d], net)


class Given(nn.Module):
    """In place of torch-rechub's embeddings: what the stem gave."""

    def forward(self, s, features, squeeze_dim):
        return s


def mlp(width, dims, activation):
    from torch_rechub.basic.layers import MLP

    return MLP(width, output_layer=False, dims=dims, activation=activation)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_ple_is_torch_rechubs(rows, levels):
    x, d = rows
    b = body()
    psi = Progressive(b, T, own=2, shared=3, levels=levels)
    s = b.stem(x)
    ways = [s] * (T + 1)
    for i, level in enumerate(psi.levels):
        theirs = CGC(i + 1, levels, T, 2, 3, b.stem.width, {"dims": [6, W]})
        ours = [e for experts in level.own for e in experts]
        for o, t in zip(
            [*ours, *level.shared], [*theirs.experts_specific, *theirs.experts_shared], strict=True
        ):
            filled(o, t)
        for o, t in zip(level.gates, theirs.gates_specific, strict=True):
            filled(o, t)
        if level.all is not None:
            filled(level.all, theirs.gate_shared)
        ways = theirs.eval()(ways)
    expected = torch.stack(ways[:T], 1)[torch.arange(len(d)), d]
    same(psi(x, d), expected, psi)


# ------------------------------------------------------------------------------------------------------ STAR


def star(auxiliary=4, normalise=True):
    net = Star(body(), T, normalise=normalise, auxiliary=auxiliary)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
        for buffer in net.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))
    return net


def test_star_is_the_written_out_product(rows):
    x, d = rows
    net = star().eval()
    expected = []
    for r, t in zip(x, d.tolist(), strict=True):
        s, n = net.stem(r[None])[0], net.norm
        z = (s - n.mean[t]) / torch.sqrt(n.var[t] + 1e-5) * (n.weight * n.scale[t]) + n.bias + n.shift[t]
        h = z
        for i, layer in enumerate(net.layers):
            h = (layer.centre.weight * (1 + layer.scale[t])) @ h + layer.centre.bias + layer.shift[t]
            h = F.relu(h) if i < len(net.layers) - 1 else h
        expected.append(h + net.auxiliary(torch.cat([z, net.of_domain.weight[t]])))
    same(net(x, d), torch.stack(expected), net)


def test_star_starts_at_its_centre_and_has_the_plain_networks_layers(rows):
    x, d = rows
    net = Star(body(), T, normalise=False, auxiliary=0)
    sizes = [(layer.centre.in_features, layer.centre.out_features) for layer in net.layers]
    assert sizes == [(4, 6), (6, W), (W, 4), (4, 1)]
    torch.testing.assert_close(net(x, d), net(x, torch.zeros_like(d)))


def test_partitioned_norm_takes_each_domains_own_statistics():
    net = PartitionedNorm(4, T)
    z = torch.randn(6, 4) * 3 + 7
    out = net(z, 1)
    torch.testing.assert_close(out, (z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + 1e-5))
    torch.testing.assert_close(net.mean[1], 0.1 * z.mean(0))
    assert torch.equal(net.mean[0], torch.zeros(4))
    assert torch.equal(net.var[2], torch.ones(4))
    before = net.mean.clone()
    one = net(z[:1], 1)  # a single row has no statistics of its own
    torch.testing.assert_close(one, (z[:1] - net.mean[1]) / torch.sqrt(net.var[1] + 1e-5))
    assert torch.equal(net.mean, before)


def test_stars_weights_are_counted_multiplied_out():
    plain = sum(p.numel() for p in nn.Sequential(body().trunk, body().head()).parameters())
    table = sum(FIELDS) * 2
    assert Star(body(), T, normalise=False, auxiliary=0).parameters_at_inference() == T * plain + table
    normed = Star(body(), T, normalise=True, auxiliary=0).parameters_at_inference()
    assert normed == T * (plain + 2 * 4) + table


# --------------------------------------------------------------------------------- adversaries, group weights


def test_reversal_changes_the_gradients_sign_alone():
    x = torch.randn(4, 3, requires_grad=True)
    y = adversarial.reversed_gradient(x, 0.25)
    assert torch.equal(y, x)
    weights = torch.randn(4, 3)
    (g,) = torch.autograd.grad((y * weights).sum(), x)
    torch.testing.assert_close(g, -0.25 * weights)


def test_the_ramp_goes_from_0_to_1():
    assert adversarial.ramp(0.0) == 0.0
    assert adversarial.ramp(0.1) == pytest.approx(math.tanh(0.5))
    assert adversarial.ramp(1.0) == pytest.approx(1.0, abs=1e-4)


def test_small_outer_products_are_whole_and_large_ones_keep_inner_products():
    whole = adversarial.Multilinear(4, 3)
    f, g = torch.randn(5, 4), torch.rand(5, 3)
    torch.testing.assert_close(whole(f, g)[2], torch.outer(f[2], g[2]).flatten())
    assert (whole.width, whole.randomised) == (12, False)
    large = adversarial.Multilinear(128, 65, size=20_000)
    f, g = torch.randn(2, 128), torch.rand(2, 65)
    out = large(f, g)
    assert (large.randomised, out.shape) == (True, (2, 20_000))
    exact = (f @ f.T) * (g @ g.T)  # equation 5 of the paper: they agree in expectation
    torch.testing.assert_close((out @ out.T).diagonal(), exact.diagonal(), rtol=0.1, atol=0.0)


def test_group_weights_move_to_the_worst_domain():
    q = GroupWeights(3, step=0.5)
    losses, domain = torch.tensor([1.0, 3.0, 0.5, 4.0]), torch.tensor([0, 0, 1, 2])
    total = q(losses, domain)
    expected = torch.softmax(0.5 * torch.tensor([2.0, 0.5, 4.0]), 0)
    torch.testing.assert_close(q.q, expected)
    torch.testing.assert_close(total, (expected * torch.tensor([2.0, 0.5, 4.0])).sum())
    for _ in range(20):
        q(losses, domain)
    assert q.q[2] > 0.99


def test_group_weights_of_absent_domains_stay_in_proportion():
    q = GroupWeights(3, step=1.0)
    losses = torch.tensor([2.0, 2.0], requires_grad=True)
    total = q(losses, torch.tensor([0, 0]))
    assert q.q[1] == q.q[2]
    assert q.q[0] > q.q[1]
    assert float(total.detach()) == pytest.approx(2.0)  # all of the weight on the one domain there is
    total.backward()
    torch.testing.assert_close(losses.grad, torch.tensor([0.5, 0.5]))


def test_copies_have_the_same_values_and_no_tensor_in_common():
    layer = nn.Linear(2, 2)
    a, b = copies(layer, 2)
    assert torch.equal(a.weight, layer.weight)
    with torch.no_grad():
        a.weight.zero_()
    assert torch.equal(b.weight, layer.weight)
    assert copy.deepcopy(layer).weight is not layer.weight
