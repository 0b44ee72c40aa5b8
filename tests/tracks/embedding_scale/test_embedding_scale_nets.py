"""Networks and training: against the paper's equations written out, and against themselves."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.contract import BenchError
from bench.tracks.common.metrics import auc
from bench.tracks.embedding_scale import training
from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets.layers import FieldEmbedding, SetBlock, SetCross, SetLinear
from bench.tracks.embedding_scale.settings import Run
from bench.tracks.embedding_scale.training import part_of_epoch

CARDINALITIES = (4, 7, 3)
N, B, K, M = 3, 64, 2, 3
RUN = Run(base_dim=K, batch=32, epochs=3, patience=3, hidden=5, cross_layers=2, lr=1e-2, weight_decay=1e-4)


def made(n=400, seed=0):
    """Labels that depend on two fields together, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, d, 3 * n) for d in CARDINALITIES], axis=1)
    y = (rng.random(3 * n) < np.where((x[:, 0] + x[:, 1]) % 2, 0.8, 0.2)).astype(np.float32)
    parts = (x[:n], y[:n], x[n : 2 * n], y[n : 2 * n], x[2 * n :])
    return CtrData("made", M, ("a", "b", "c"), CARDINALITIES, *parts)


class Context:
    """Keeps checkpoints as the engine does: a copy of the state, with the random state of that moment."""

    device, amp = "cpu", False

    def __init__(self, run=RUN, seed=0, kept=None, die_after=None):
        self.run, self.seed, self.kept, self.die_after, self.curve = run, seed, kept, die_after, []

    def report(self, **numbers):
        self.curve.append(numbers)

    def checkpoint(self, state):
        self.kept = (copy.deepcopy(dict(state)), torch.get_rng_state())
        if len(self.curve) == self.die_after:
            raise KeyboardInterrupt

    def restore(self):
        if self.kept is None:
            return None
        torch.set_rng_state(self.kept[1])
        return copy.deepcopy(self.kept[0])


class Plain(nn.Module):
    """The paper's equations as loops over separate sets, fields and layers, none of it shared with nets/."""

    def __init__(self, model, sets):
        super().__init__()
        width = N * K
        self.E = nn.ModuleList(nn.ModuleList(nn.Embedding(d, K) for d in CARDINALITIES) for _ in range(sets))
        self.W = nn.ModuleList(nn.ModuleList(nn.Linear(width, width) for _ in range(2)) for _ in range(sets))
        self.first = nn.ModuleList(nn.Linear(width, RUN.hidden) for _ in range(sets))
        self.bn = nn.ModuleList(nn.BatchNorm1d(RUN.hidden) for _ in range(sets))
        self.second, self.bn2 = nn.Linear(RUN.hidden, RUN.hidden), nn.BatchNorm1d(RUN.hidden)
        self.out = nn.Linear(RUN.hidden, 1)
        self.model, self.sets = model, sets

    def forward(self, x):
        h = 0
        for m in range(self.sets):
            e = torch.cat([self.E[m][i](x[:, i]) for i in range(N)], dim=1)
            if self.model == "dcnv2":
                x0 = e
                for layer in self.W[m]:
                    e = x0 * layer(e) + e
            h = h + F.relu(self.bn[m](self.first[m](e))) / self.sets
        return self.out(F.relu(self.bn2(self.second(h)))).squeeze(1)


def pairs(plain, net):
    """(plain's parameter, the same numbers inside net's tensor) as functions of a tensor of net's shape."""
    starts = np.cumsum([0, *CARDINALITIES])
    for m in range(plain.sets):
        for i in range(N):
            yield plain.E[m][i].weight, net.embedding.weight, (
                slice(starts[i], starts[i + 1]), slice(m * K, (m + 1) * K),
            ), False  # fmt: skip
        block = net.first if plain.model == "dnn" else net.projection
        yield plain.first[m].weight, block.linear.weight, (m,), True
        yield plain.first[m].bias, block.linear.bias, (m, 0), False
        unit = slice(m * RUN.hidden, (m + 1) * RUN.hidden)
        yield plain.bn[m].weight, block.norm.weight, (unit,), False
        yield plain.bn[m].bias, block.norm.bias, (unit,), False
        if plain.model == "dcnv2":
            for at, layer in enumerate(plain.W[m]):
                yield layer.weight, net.cross.weight, (at, m), True
                yield layer.bias, net.cross.bias, (at, m, 0), False
    rest = net.rest.mlp
    for mine, theirs in ((plain.second, rest[0]), (plain.bn2, rest[1]), (plain.out, rest[4])):
        yield mine.weight, theirs.weight, (...,), False
        yield mine.bias, theirs.bias, (...,), False


def multi_logits(net, x):
    return net.head(net.interact(net.embedding(x)).mean(0))


@pytest.mark.parametrize("model", ["dnn", "dcnv2"])
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_multi_is_the_papers_equations(model, train):
    torch.manual_seed(0)
    run = Run(**{**vars_of(RUN), "dropout": 0.0})
    net = training.network(model).Multi(made(), K, M, run).double().train(train)
    plain = Plain(model, M).double().train(train)
    with torch.no_grad():
        for mine, theirs, at, transposed in pairs(plain, net):
            mine.copy_(theirs[at].T if transposed else theirs[at])
            # Every number is compared, so none may be equal by being a default.
            mine.add_(0.1 * torch.randn_like(mine))
            theirs[at] = mine.T if transposed else mine
    x = torch.from_numpy(made().train_x[:B])
    target = torch.randn(B, dtype=torch.double)
    got, want = multi_logits(net, x), plain(x)
    torch.testing.assert_close(got, want)
    (got * target).sum().backward()
    (want * target).sum().backward()
    compared = 0
    for mine, theirs, at, transposed in pairs(plain, net):
        torch.testing.assert_close(theirs.grad[at], mine.grad.T if transposed else mine.grad)
        compared += mine.numel()
    assert compared == sum(p.numel() for p in net.parameters())


def vars_of(run):
    return {name: getattr(run, name) for name in run.__dataclass_fields__}


@pytest.mark.parametrize("model", ["dnn", "dcnv2"])
def test_multi_at_one_set_is_the_single_model(model):
    """The single model's perceptron is the one set's block followed by the shared rest."""
    run = Run(**{**vars_of(RUN), "dropout": 0.0})
    nets = training.network(model)
    single, multi = nets.Single(made(), K, run).double(), nets.Multi(made(), K, 1, run).double()
    block = multi.first if model == "dnn" else multi.projection
    with torch.no_grad():
        multi.embedding.weight.copy_(single.embedding.weight)
        if model == "dcnv2":
            multi.cross.load_state_dict(single.cross.state_dict())
        layers = list(single.mlp.mlp)
        block.linear.weight.copy_(layers[0].weight.T[None])
        block.linear.bias.copy_(layers[0].bias[None, None])
        block.norm.load_state_dict(layers[1].state_dict())
        multi.rest.mlp.load_state_dict(nn.Sequential(*layers[4:]).state_dict())
    x = torch.from_numpy(made().train_x[:B])
    torch.testing.assert_close(multi_logits(multi, x), single(x))
    single(x).square().sum().backward()
    multi_logits(multi, x).square().sum().backward()
    torch.testing.assert_close(multi.embedding.weight.grad, single.embedding.weight.grad)
    assert sum(p.numel() for p in multi.parameters()) == sum(p.numel() for p in single.parameters())


def test_the_method_averages_over_sets(monkeypatch):
    """What is trained as multi-embedding is F of the mean of the h^(m), with M = the task's scale."""
    from bench.methods import multi_embedding as paper

    seen = {}

    def solve(net, forward, data, ctx):
        seen.update(net=net.eval(), logits=forward)
        return {}

    monkeypatch.setattr(training, "solve", solve)
    paper.multi_embedding(made(), {"model": "dcnv2"}, Context())
    x = torch.from_numpy(made().train_x[:B])
    net = seen["net"]
    assert (net.embedding.sets, net.embedding.dim) == (M, K)
    h = net.interact(net.embedding(x))
    assert h.shape == (M, B, RUN.hidden)
    torch.testing.assert_close(seen["logits"](x), net.head((h[0] + h[1] + h[2]) / 3))


def test_cross_without_bias_is_torch_rechubs():
    from torch_rechub.basic.layers import CrossNetV2

    mine, theirs = SetCross(1, 6, 3), CrossNetV2(6, 3)
    with torch.no_grad():
        for w, layer in zip(mine.weight, theirs.w, strict=True):
            layer.weight.copy_(w[0].T)
    x = torch.randn(9, 6)
    torch.testing.assert_close(mine(x[None])[0], theirs(x))


def test_lookup_and_tables():
    e = FieldEmbedding(CARDINALITIES, K, M)
    x = torch.tensor([[3, 6, 2], [0, 0, 0]])
    tables = e.tables()
    assert [[t.shape for t in sets] for sets in tables] == [[(d, K)] * M for d in CARDINALITIES]
    for m in range(M):
        for row in range(2):
            want = torch.cat([tables[i][m][x[row, i]] for i in range(N)])
            torch.testing.assert_close(e(x)[m, row], want)


def test_sets_start_as_separate_modules_would():
    torch.manual_seed(0)
    dims = (3000, 2000)
    e = FieldEmbedding(dims, 8, 4).weight
    reference = torch.empty(5000, 8)
    nn.init.xavier_uniform_(reference)
    assert e.std().item() == pytest.approx(reference.std().item(), rel=0.02)
    linear, one = SetLinear(4, 50, 400), nn.Linear(50, 400)
    assert linear.weight.std().item() == pytest.approx(one.weight.std().item(), rel=0.02)
    assert linear.bias.std().item() == pytest.approx(one.bias.std().item(), rel=0.1)
    cross, square = SetCross(4, 100, 2), torch.empty(100, 100)
    nn.init.xavier_uniform_(square)
    assert cross.weight.std().item() == pytest.approx(square.std().item(), rel=0.02)
    assert not cross.bias.any()


def test_sets_do_not_see_each_other():
    block = SetBlock(2, 4, 3, dropout=0.0)
    x = torch.randn(2, 16, 4)
    other = x.clone()
    other[1] = 100 * torch.randn(16, 4)
    torch.testing.assert_close(block(x)[0], block(other)[0])


# --------------------------------------------------------------------------------------------------- training


def solved(model="dcnv2", ctx=None, data=None):
    ctx = ctx or Context()
    torch.manual_seed(ctx.seed)
    net = training.network(model).Single(data or made(), 4, ctx.run)
    return training.solve(net, net, data or made(), ctx), net


@pytest.mark.slow
def test_it_learns_what_no_single_field_says():
    run = Run(**{**vars_of(RUN), "epochs": 25, "patience": 25, "hidden": 32, "dropout": 0.0})
    answer, _ = solved(ctx=Context(run), data=made(2000))
    assert auc(made(2000).val_y, answer["val"]) > 0.75


def test_the_best_epoch_is_restored_and_patience_ends_training():
    run = Run(**{**vars_of(RUN), "epochs": 60, "patience": 4, "lr": 0.05})
    ctx = Context(run)
    answer, _ = solved(ctx=ctx)
    curve = [c["val_auc"] for c in ctx.curve]
    best = int(np.argmax(curve))
    assert len(curve) == best + 1 + 4 < 60
    assert auc(made().val_y, answer["val"]) == curve[best]


def test_looks_divide_an_epoch_and_lose_no_row():
    run = Run(**{**vars_of(RUN), "batch": 8, "evaluations": 4})
    parts = [part_of_epoch(75, look, 5, run) for look in range(8)]  # ten batches, the last of three rows
    assert [len(p) for p in parts] == 2 * [16, 24, 16, 19]
    whole = [part_of_epoch(75, epoch, 5, Run(**{**vars_of(run), "evaluations": 1})) for epoch in range(2)]
    assert torch.equal(torch.cat(parts[:4]), whole[0])
    assert torch.equal(torch.cat(parts[4:]), whole[1])
    assert not torch.equal(whole[0], whole[1])
    assert torch.equal(whole[0].sort().values, torch.arange(75))
    with pytest.raises(BenchError, match=r"evaluations: 4 looks .* 2 batches; nearest: 2"):
        part_of_epoch(10, 0, 5, run)


def test_more_looks_change_no_step_but_may_find_better_weights():
    curves = []
    for looks in (1, 2):
        ctx = Context(Run(**{**vars_of(RUN), "evaluations": looks, "patience": 99}))
        solved(ctx=ctx)
        curves.append([c["val_auc"] for c in ctx.curve])
        assert [c["epoch"] for c in ctx.curve][-1] == RUN.epochs
    assert curves[0] == curves[1][1::2]


def test_seeds_decide():
    a, b, c = solved()[0], solved()[0], solved(ctx=Context(seed=1))[0]
    np.testing.assert_array_equal(a["test"], b["test"])
    assert not np.array_equal(a["test"], c["test"])


def test_a_killed_run_goes_on_as_if_nothing_had_been():
    whole, _ = solved()
    first = Context(die_after=2)
    with pytest.raises(KeyboardInterrupt):
        solved(ctx=first)
    torch.manual_seed(99)
    second = Context(kept=first.kept)
    net = training.network("dcnv2").Single(made(), 4, RUN)
    resumed = training.solve(net, net, made(), second)
    assert len(second.curve) == 1
    np.testing.assert_array_equal(whole["test"], resumed["test"])


def test_divergence_ends_at_once_with_what_is_not_finite():
    run = Run(**{**vars_of(RUN), "lr": float("inf"), "epochs": 50})
    ctx = Context(run)
    answer, _ = solved(ctx=ctx)
    assert len(ctx.curve) == 1
    assert not np.isfinite(answer["test"]).any()


def test_a_last_batch_of_one_row_is_left_out():
    data = made(65)  # 32 + 32 + 1
    answer, _ = solved(data=data)
    assert np.isfinite(answer["val"]).all()


def test_mixed_precision_trains_and_answers_in_full():
    ctx = Context()
    ctx.amp = True
    data = made(2000)
    net = training.network("dcnv2").Multi(data, K, M, RUN)
    answer = training.solve(net, lambda x: multi_logits(net, x), data, ctx)
    exact = torch.sigmoid(multi_logits(net.eval(), torch.from_numpy(data.test_x))).detach().numpy()
    np.testing.assert_allclose(answer["test"], exact, rtol=1e-5)
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_the_answer_counts_parameters_and_shows_tables():
    answer, net = solved("dnn")
    assert answer["parameters"] == sum(CARDINALITIES) * 4 + (12 * 5 + 5 + 10) + (5 * 5 + 5 + 10) + (5 + 1)
    np.testing.assert_array_equal(answer["tables"][1][0], net.embedding.weight[4:11].detach().numpy())
