"""The ablations: each penalty written out, the shared interaction against tied weights, and the rows."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from bench.baselines.embedding_scale import single_regularised, single_singular_values
from bench.methods import multi_embedding, multi_embedding_ablations
from torch import nn

from bench.contract import Task
from bench.registry import methods_in
from bench.tracks.embedding_scale import training
from bench.tracks.embedding_scale.data import CtrData
from bench.tracks.embedding_scale.nets import penalties
from bench.tracks.embedding_scale.settings import Run
from bench.tracks.embedding_scale.track import TRACK

CARDINALITIES = (4, 7, 9)
N, B, K, M, L = 3, 64, 2, 3, 2
RUN = Run(
    base_dim=K,
    batch=32,
    epochs=3,
    patience=3,
    hidden=5,
    cross_layers=L,
    lr=1e-2,
    weight_decay=1e-4,
    dropout=0.0,
)
METHODS = [
    m
    for module in (multi_embedding_ablations, single_regularised, single_singular_values)
    for m in methods_in(module)
]
BY_ROW = {row: m for m in METHODS for row in m.rows()}
PENALISED = [row for row in BY_ROW if row != "multi-shared/dcnv2"]


def made(n=400, sets=M):
    """Labels that depend on two fields together, so that there is something to learn."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, d, 3 * n) for d in CARDINALITIES], axis=1)
    y = (rng.random(3 * n) < np.where((x[:, 0] + x[:, 1]) % 2, 0.8, 0.2)).astype(np.float32)
    parts = (x[:n], y[:n], x[n : 2 * n], y[n : 2 * n], x[2 * n :])
    return CtrData("made", sets, ("a", "b", "c"), CARDINALITIES, *parts)


class Context:
    """As much of a context as a method of this track touches."""

    device, amp = "cpu", False

    def __init__(self, run=RUN, seed=0):
        self.run, self.seed = run, seed

    def report(self, **numbers):
        pass

    def checkpoint(self, state):
        pass

    def restore(self):
        return None


def same(got, want, *inputs):
    """Equal values, and equal gradients in every input."""
    torch.testing.assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got, inputs), torch.autograd.grad(want, inputs), strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().max() > 0


def drawn(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.double).requires_grad_()


# ------------------------------------------------------------------------------------- penalties, written out


def block(matrix, i, j):
    """W_{i->j}: field j's part of x W is e_i W_{i->j}^T."""
    return matrix[i * K : (i + 1) * K, j * K : (j + 1) * K].T


def test_non_orthogonality_is_the_papers_sum():
    weight, scale = drawn(L, N * K, N * K), drawn(L, N, N)
    want = 0
    for at, i, j in itertools.product(range(L), range(N), range(N)):
        W = block(weight[at], i, j)
        want = want + torch.linalg.matrix_norm(W.T @ W - scale[at, i, j] * torch.eye(K, dtype=W.dtype)) ** 2
    same(penalties.non_orthogonality(weight, scale), want, weight, scale)


def test_scaled_rotations_cost_nothing():
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    scale = torch.arange(1.0, 10).view(1, N, N)
    weight = torch.cat([torch.cat([scale[0, i, j].sqrt() * turn for j in range(N)], 1) for i in range(N)])[
        None
    ]
    assert penalties.non_orthogonality(weight, scale).item() == pytest.approx(0, abs=1e-9)
    assert penalties.non_orthogonality(weight, scale.mT).item() > 1, (
        "lambda of (i, j) belongs to block (i, j)"
    )


def test_norm_variance_is_over_sets():
    weight = drawn(L, M, N * K, N * K)
    found = []
    for at, i, j in itertools.product(range(L), range(N), range(N)):
        norms = [torch.linalg.matrix_norm(block(weight[at, m], i, j)) ** 2 for m in range(M)]
        mean = sum(norms) / M
        found.append(sum((n - mean) ** 2 for n in norms) / M)
    same(penalties.norm_variance(weight, N), sum(found) / len(found), weight)
    alike = weight.detach()[:, :1].expand(-1, M, -1, -1)
    assert penalties.norm_variance(alike, N).item() == pytest.approx(0, abs=1e-12)


def test_similarity_is_the_mean_of_squared_singular_values():
    e = drawn(M, B, N * K)
    found = []
    for i, (m, n) in itertools.product(range(N), itertools.combinations(range(M), 2)):
        part = slice(i * K, (i + 1) * K)
        found.append(torch.linalg.svdvals(e[m][:, part].T @ e[n][:, part]).square().mean())
    same(penalties.similarity(e, N), sum(found) / len(found), e)


def test_spaces_that_are_apart_are_not_similar():
    e = torch.zeros(2, 4, 2 * K)
    e[0, :2], e[1, 2:] = 1, 1  # the sets answer different rows
    assert penalties.similarity(e, 2) == 0


def test_spread_is_the_variance_of_singular_values():
    e = drawn(B, N * K)
    found = []
    for i in range(N):
        sigma = torch.linalg.svdvals(e[:, i * K : (i + 1) * K])
        found.append((sigma / sigma.mean()).var())
    same(penalties.spread(e, N), sum(found) / N, e)


def test_spread_of_rotations_is_zero_and_of_rank_one_is_largest():
    even = torch.eye(4).repeat(1, 2)  # two fields of K = 4
    assert penalties.spread(even, 2).item() == pytest.approx(0, abs=1e-9)
    one = torch.ones(8, 4)  # one of four singular values: (4, 0, 0, 0) over their mean
    assert penalties.spread(one, 1).item() == pytest.approx(4)


def test_spread_where_a_field_has_fewer_values_than_dimensions():
    """Rank 2 of 5: against the singular value decomposition, whose values are zeros beyond 2."""
    table = drawn(2, 5)
    index = torch.tensor([0, 1] * 8)
    sigma = torch.linalg.svdvals(table[index])
    assert sigma[2:].max() < 1e-6
    same(penalties.spread(table[index], 1), (sigma / sigma.mean()).var(), table)


def test_spread_of_a_batch_shorter_than_the_dimensions():
    e = drawn(3, 5)
    sigma = torch.linalg.svdvals(e)
    same(penalties.spread(e, 1), (sigma / sigma.mean()).var(), e)


# ---------------------------------------------------------------------------------------- the one interaction


def tied(shared, sets):
    """Multi-embedding whose every set has the shared interaction's numbers."""
    net = training.network("dcnv2").Multi(made(sets=sets), K, sets, RUN).double()
    with torch.no_grad():
        net.embedding.load_state_dict(shared.embedding.state_dict())
        net.rest.load_state_dict(shared.rest.state_dict())
        for mine, one in tying(net, shared):
            mine.copy_(one.expand(mine.shape) if one.ndim > 1 else one.repeat(sets))
        net.projection.norm.running_mean.copy_(shared.projection.norm.running_mean)
        net.projection.norm.running_var.copy_(shared.projection.norm.running_var)
    return net


def tying(net, shared):
    yield net.cross.weight, shared.cross.weight
    yield net.cross.bias, shared.cross.bias
    yield net.projection.linear.weight, shared.projection.linear.weight
    yield net.projection.linear.bias, shared.projection.linear.bias
    yield net.projection.norm.weight, shared.projection.weight
    yield net.projection.norm.bias, shared.projection.bias


def logits(net, x):
    return net.head(net.interact(net.embedding(x)).mean(0))


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("sets", [1, M])
def test_one_interaction_is_multi_embedding_with_tied_weights(sets, train):
    """Logits, and gradients: of what is tied, the sum over sets. At one set it is multi-embedding's form."""
    torch.manual_seed(0)
    shared = training.network("dcnv2_shared").Multi(made(sets=sets), K, sets, RUN).double()
    with torch.no_grad():
        for tensor in shared.parameters():
            tensor.add_(0.2 * torch.randn_like(tensor))
        shared.projection.norm.running_mean.normal_()
        shared.projection.norm.running_var.add_(torch.rand(sets * RUN.hidden))
    net = tied(shared, sets).train(train)
    shared.train(train)
    x, target = torch.from_numpy(made().train_x[:B]), torch.randn(B, dtype=torch.double)
    got, want = logits(shared, x), logits(net, x)
    torch.testing.assert_close(got, want)
    (got * target).sum().backward()
    (want * target).sum().backward()
    for mine, one in tying(net, shared):
        # (..., M, in, out) holds the set before the matrix; batch norm holds one set after the other.
        total = mine.grad.view(sets, -1).sum(0) if one.ndim == 1 else mine.grad.sum(-3, keepdim=True)
        torch.testing.assert_close(one.grad, total)
        assert one.grad.abs().max() > 0
    torch.testing.assert_close(shared.embedding.weight.grad, net.embedding.weight.grad)
    own = sum(map(torch.numel, nn.ModuleList([net.cross, net.projection]).parameters()))
    assert own == sets * sum(map(torch.numel, nn.ModuleList([shared.cross, shared.projection]).parameters()))


# ------------------------------------------------------------------------------------------------------- rows


def test_rows_and_their_relations():
    assert {row: m.counterpart_of(row) for row, m in BY_ROW.items()} == {
        "multi-shared/dcnv2": "multi/dcnv2",
        "multi-norm-aligned/dcnv2": "multi/dcnv2",
        "multi-space-similarity/dcnv2": "multi/dcnv2",
        "single-regularised/dcnv2": "single/dcnv2",
        "single-singular-values/dcnv2": "single/dcnv2",
    }
    one, four = (Task(name=f"flights-{s}x", params={"dataset": "flights", "scale": s}) for s in (1, 4))
    for row, m in BY_ROW.items():
        if row.startswith("multi"):
            assert m.alias(one, m.hp_of(row)) == "single/dcnv2"
            assert m.alias(four, m.hp_of(row)) is None
        else:
            assert m.alias is None
    skip = BY_ROW["single-singular-values/dcnv2"].skip
    assert "size 1" in skip(one, Run(base_dim=1), {})
    assert skip(one, RUN, {}) is skip(four, Run(base_dim=1), {}) is None


@pytest.fixture(scope="module")
def smoke():
    grid, run = TRACK.smoke()
    (task,) = TRACK.tasks(grid)
    return task, run, TRACK.load(task, run, None), TRACK.truth(task, run, None)


@pytest.mark.parametrize("row", BY_ROW)
def test_every_row_answers_the_smoke_task(row, smoke):
    task, run, data, truth = smoke
    answers = []
    for _ in range(2):
        torch.manual_seed(3)
        answers.append(BY_ROW[row].fn(data, BY_ROW[row].hp_of(row), Context(run, 3)))
    metrics = TRACK.score(task, answers[0], truth, ()).metrics
    assert np.isfinite(list(metrics.values())).all()
    assert metrics["auc"] > 0.5
    np.testing.assert_array_equal(answers[0]["test"], answers[1]["test"])


def trained(row, weight, monkeypatch, seed=0):
    """The network that a row trains, at that weight; and what the penalty is in the end."""
    kept = {}
    solve = training.solve

    def spy(net, forward, data, ctx, **how):
        kept.update(net=net, penalty=how.get("penalty"))
        return solve(net, forward, data, ctx, **how)

    monkeypatch.setattr(training, "solve", spy)
    torch.manual_seed(seed)
    BY_ROW[row].fn(made(), {"weight": weight}, Context(dataclasses.replace(RUN, epochs=8, patience=8), seed))
    monkeypatch.setattr(training, "solve", solve)
    with torch.no_grad():
        return kept["net"], float(kept["penalty"](torch.from_numpy(made().train_x)))


@pytest.mark.parametrize("row", PENALISED)
def test_a_penalty_gets_its_way(row, monkeypatch):
    """The same seed with and without: what is penalised is smaller, in terms of the same weight."""
    weight = {"single-regularised/dcnv2": 1e-2, "multi-norm-aligned/dcnv2": 1.0}.get(row, 1e-1)
    plain, zero = trained(row, 0.0, monkeypatch)
    _, with_ = trained(row, weight, monkeypatch)
    assert zero == 0
    assert with_ > 0
    assert with_ / weight < 0.7 * measure(row, plain)


def measure(row, net):
    """The penalty of a network, at weight 1."""
    with torch.no_grad():
        x = torch.from_numpy(made().train_x)
        if row == "single-regularised/dcnv2":
            return float(penalties.non_orthogonality(net.cross.weight[:, 0], net.scale))
        if row == "multi-norm-aligned/dcnv2":
            return float(penalties.norm_variance(net.cross.weight, N))
        if row == "multi-space-similarity/dcnv2":
            return float(penalties.similarity(net.embedding(x), N))
        return float(penalties.spread(net.embedding(x)[0], N))


@pytest.mark.parametrize("row", ["multi-norm-aligned/dcnv2", "multi-space-similarity/dcnv2"])
def test_at_weight_zero_an_ablation_is_its_counterpart(row):
    """Same seed, same numbers: nothing but the penalty differs."""
    torch.manual_seed(0)
    mine = BY_ROW[row].fn(made(), {"weight": 0.0}, Context())
    torch.manual_seed(0)
    theirs = multi_embedding.multi_embedding(made(), {"model": "dcnv2"}, Context())
    np.testing.assert_allclose(mine["test"], theirs["test"], rtol=1e-6)


def test_a_penalty_is_in_full_precision_where_the_network_is_not():
    seen = []
    net = training.network("dcnv2").Multi(made(), K, M, RUN)

    def penalty(x):
        assert not torch.is_autocast_enabled("cpu")
        seen.append(penalties.similarity(net.embedding(x), N))
        return seen[-1]

    ctx = Context()
    ctx.amp = True
    training.solve(net, lambda x: logits(net, x), made(), ctx, penalty=penalty)
    assert {s.dtype for s in seen} == {torch.float32}
    assert len(seen) == RUN.epochs * -(-400 // RUN.batch)


# ------------------------------------------------------------------------------------------------------ speed


def test_speed_is_training_rows_over_the_epochs_own_time(monkeypatch):
    """A clock that goes a second a look: two looks an epoch, and none while it is validated."""
    clock = itertools.count()
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))
    net = training.network("dnn").Single(made(), K, RUN)
    answer = training.solve(net, net, made(), Context())
    assert answer["examples_per_second"] == 400
    assert next(clock) == 2 * RUN.epochs
    assert TRACK.metric("examples_per_second").kind == "cost"


def test_no_epoch_no_speed():
    net = training.network("dnn").Single(made(), K, RUN)
    answer = training.solve(net, net, made(), Context(dataclasses.replace(RUN, epochs=0)))
    assert answer["examples_per_second"] is None
