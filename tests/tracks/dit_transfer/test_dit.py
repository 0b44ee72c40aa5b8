"""A DiT against one written out from the paper, in the layouts of its files; the traps of diffusers' own."""

import argparse
import copy
import json
import math
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

from bench.contract import BenchError
from bench.nn import weights
from bench.tracks.dit_transfer.nets import dit
from bench.tracks.dit_transfer.nets.dit import DiT, DiTConfig

TINY = DiTConfig(size=8, channels=4, classes=5, patch=2, layers=3, width=32, heads=4, learned_sigma=True)


def original(config=TINY, seed=0):
    """Random weights with the names and shapes of the original's file; large enough that each one matters."""
    g = torch.Generator().manual_seed(seed)
    w, p = config.width, config.patch
    out = p * p * config.channels * (2 if config.learned_sigma else 1)
    shapes = {
        "x_embedder.proj": (w, config.channels, p, p),
        "t_embedder.mlp.0": (w, 256),
        "t_embedder.mlp.2": (w, w),
    }
    for i in range(config.layers):
        shapes |= {
            f"blocks.{i}.attn.qkv": (3 * w, w),
            f"blocks.{i}.attn.proj": (w, w),
            f"blocks.{i}.mlp.fc1": (4 * w, w),
            f"blocks.{i}.mlp.fc2": (w, 4 * w),
            f"blocks.{i}.adaLN_modulation.1": (6 * w, w),
        }
    shapes |= {"final_layer.linear": (out, w), "final_layer.adaLN_modulation.1": (2 * w, w)}
    found = {"pos_embed": positions(config)}
    for name, shape in shapes.items():
        fan = math.prod(shape[1:])
        found[f"{name}.weight"] = torch.randn(shape, generator=g) / fan**0.5
        found[f"{name}.bias"] = 0.3 * torch.randn(shape[0], generator=g)
    found["y_embedder.embedding_table.weight"] = torch.randn(config.classes + 1, w, generator=g)
    return found


def positions(config):
    """(1, patches, width): a quarter each of sin and cos of the column, sin and cos of the row."""
    side, quarter = config.size // config.patch, config.width // 4
    frequency = 10000 ** -(torch.arange(quarter).double() / quarter)
    row, column = (v.flatten().double() for v in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij"))
    parts = [f(v[:, None] * frequency) for v in (column, row) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, 1).float()[None]


def reference(w, x, t, y, config=TINY):
    """The paper's network over the original's names, in double precision."""
    w = {k: v.double() for k, v in w.items()}
    p, heads, b = config.patch, config.heads, len(x)

    def linear(name, v):
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(v):
        return F.layer_norm(v, v.shape[-1:], eps=1e-6)

    angle = t[:, None].double() * 10000 ** -(torch.arange(128).double() / 128)
    time = linear("t_embedder.mlp.0", torch.cat([angle.cos(), angle.sin()], 1))
    c = linear("t_embedder.mlp.2", F.silu(time)) + w["y_embedder.embedding_table.weight"][y]
    patches = F.unfold(x.double(), p, stride=p).transpose(1, 2)  # (B, N, C p p)
    v = patches @ w["x_embedder.proj.weight"].flatten(1).T + w["x_embedder.proj.bias"] + w["pos_embed"]
    for i in range(config.layers):
        six = linear(f"blocks.{i}.adaLN_modulation.1", F.silu(c))[:, None].chunk(6, -1)
        qkv = linear(f"blocks.{i}.attn.qkv", norm(v) * (1 + six[1]) + six[0])
        q, k, values = qkv.reshape(b, -1, 3, heads, config.width // heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-1, -2) / (config.width // heads) ** 0.5).softmax(-1)
        attended = (scores @ values).transpose(1, 2).flatten(2)
        v = v + six[2] * linear(f"blocks.{i}.attn.proj", attended)
        hidden = F.gelu(linear(f"blocks.{i}.mlp.fc1", norm(v) * (1 + six[4]) + six[3]), approximate="tanh")
        v = v + six[5] * linear(f"blocks.{i}.mlp.fc2", hidden)
    shift, scale = linear("final_layer.adaLN_modulation.1", F.silu(c))[:, None].chunk(2, -1)
    out = linear("final_layer.linear", norm(v) * (1 + scale) + shift)
    side = config.size // p
    out = out.reshape(b, side, side, p, p, -1).permute(0, 5, 1, 3, 2, 4)
    return out.reshape(b, -1, config.size, config.size)


def plain(w, config=TINY):
    """diffusers' network as it comes, with these weights: a copy of the embedders a block, q, k, v apart."""
    net = DiTTransformer2DModel(
        num_attention_heads=config.heads, attention_head_dim=config.width // config.heads,
        in_channels=config.channels, out_channels=2 * config.channels, num_layers=config.layers,
        sample_size=config.size, patch_size=config.patch, num_embeds_ada_norm=config.classes,
    )  # fmt: skip
    state = {f"pos_embed.proj.{k}": w[f"x_embedder.proj.{k}"] for k in ("weight", "bias")}
    for k in ("weight", "bias"):
        state[f"proj_out_1.{k}"] = w[f"final_layer.adaLN_modulation.1.{k}"]
        state[f"proj_out_2.{k}"] = w[f"final_layer.linear.{k}"]
        for i in range(config.layers):
            ours, theirs = f"transformer_blocks.{i}", f"blocks.{i}"
            state[f"{ours}.norm1.emb.timestep_embedder.linear_1.{k}"] = w[f"t_embedder.mlp.0.{k}"]
            state[f"{ours}.norm1.emb.timestep_embedder.linear_2.{k}"] = w[f"t_embedder.mlp.2.{k}"]
            table = w["y_embedder.embedding_table.weight"]
            state[f"{ours}.norm1.emb.class_embedder.embedding_table.weight"] = table
            for part, value in zip("qkv", w[f"{theirs}.attn.qkv.{k}"].chunk(3), strict=True):
                state[f"{ours}.attn1.to_{part}.{k}"] = value
            state[f"{ours}.attn1.to_out.0.{k}"] = w[f"{theirs}.attn.proj.{k}"]
            state[f"{ours}.ff.net.0.proj.{k}"] = w[f"{theirs}.mlp.fc1.{k}"]
            state[f"{ours}.ff.net.2.{k}"] = w[f"{theirs}.mlp.fc2.{k}"]
            state[f"{ours}.norm1.linear.{k}"] = w[f"{theirs}.adaLN_modulation.1.{k}"]
    net.load_state_dict(state)
    return net.eval()


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(9)
    return (
        torch.randn(6, 4, 8, 8, generator=g),
        torch.tensor([0, 1, 37, 250, 640, 999]),
        torch.tensor([0, 1, 2, 3, 4, 5]),
    )


@pytest.fixture
def file(tmp_path):
    torch.save(original(), tmp_path / "dit.pt")
    return tmp_path / "dit.pt"


def test_the_originals_file_gives_the_papers_network(file, inputs):
    with torch.no_grad():
        out = dit.load(file, TINY)(*inputs)
    expected = reference(original(), *inputs)
    assert out.shape == (6, 8, 8, 8)
    assert (out - expected).abs().max() < 2e-4 * expected.abs().max()


def test_the_network_is_the_papers_to_the_last_digits(file, inputs):
    """In double precision and at step 0, where no sinusoid is rounded, an epsilon of a norm shows."""
    x, _, y = inputs
    zero = torch.zeros(6, dtype=torch.int64)
    with torch.no_grad():
        out = dit.load(file, TINY).double()(x.double(), zero, y)
    expected = reference(original(), x, zero, y)
    assert (out - expected).abs().max() < 3e-7 * expected.abs().max()


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("pipeline", [True, False])
def test_a_folder_of_diffusers_gives_the_same_output(file, inputs, tmp_path, safe, pipeline):
    folder = tmp_path / "hub"
    plain(original()).save_pretrained(folder / "transformer" if pipeline else folder, safe_serialization=safe)
    ours, theirs = dit.load(file, TINY), dit.load(folder)
    assert theirs.config == TINY
    assert ours.weights().keys() == theirs.weights().keys()
    with torch.no_grad():
        assert torch.equal(ours(*inputs), theirs(*inputs))


def test_diffusers_network_as_it_comes_is_another(file, inputs):
    """The reason for `DiT`: frequencies of the time step, and blocks that each draw their label dropout."""
    net, expected = plain(original()), reference(original(), *inputs)
    x, t, y = inputs
    with torch.no_grad():
        gap = (net(x, timestep=t, class_labels=y).sample - expected).abs().amax(
            (1, 2, 3)
        ) / expected.abs().max()
        assert gap[0] < 1e-3  # at step 0 all sinusoids are the same
        assert gap[4:].min() > 1e-2
        net.train()
        tied, zero = dit.load(file, TINY).train(), torch.zeros(64, dtype=torch.int64)
        same = x[:1].expand(64, -1, -1, -1)
        torch.manual_seed(0)
        theirs, ours = net(same, timestep=zero, class_labels=zero).sample, tied(same, zero, zero)
        assert not torch.allclose(theirs, theirs[:1].expand_as(theirs), atol=1e-2)
        assert torch.allclose(ours, ours[:1].expand_as(ours), atol=1e-4)


def test_embedders_are_one_for_all_blocks(file, tmp_path):
    model = dit.load(file, TINY)
    model.save(tmp_path / "a.safetensors")
    again = dit.load(tmp_path / "a.safetensors")
    for net in (DiT(TINY), model, again, copy.deepcopy(model), model.to(torch.float32)):
        first = net.blocks[0].norm1.emb
        assert all(b.norm1.emb is first for b in net.blocks)
        assert net.labels is first.class_embedder.embedding_table
        parts = {id(p) for b in net.blocks for p in b.attn1.parameters()}
        assert len(parts) == 4 * TINY.layers  # one layer for queries, keys and values, one for the output
    stored = weights.read(tmp_path / "a.safetensors")
    assert sum(v.numel() for v in stored.values()) == sum(p.numel() for p in model.parameters())


def test_saved_and_loaded(inputs, tmp_path):
    torch.manual_seed(1)
    model = DiT(TINY)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    model.save(tmp_path / "a.safetensors", about={"recipe": "x"})
    model.save(tmp_path / "h.safetensors", half=True)
    assert weights.about(tmp_path / "a.safetensors")["recipe"] == "x"
    with torch.no_grad():
        out = model(*inputs)
        again = dit.load(tmp_path / "a.safetensors")
        assert again.config == TINY
        assert torch.equal(again(*inputs), out)
        assert all(p.requires_grad for p in again.parameters())
        half = dit.load(tmp_path / "h.safetensors")
        assert half.labels.weight.dtype == torch.float32
        assert 0 < (half(*inputs) - out).abs().max() < 1e-2 * out.abs().max()
    assert (tmp_path / "h.safetensors").stat().st_size < 0.6 * (tmp_path / "a.safetensors").stat().st_size


def test_a_new_network_is_adaln_zero():
    torch.manual_seed(0)
    model = DiT(DiTConfig(size=16, layers=2, width=32, heads=2))
    x, t, y = torch.randn(3, 3, 16, 16), torch.tensor([0, 500, 999]), torch.tensor([0, 7, 8])
    with torch.no_grad():
        assert (model(x, t, y) == 0).all()
        tokens = model.net.pos_embed(x)
        assert torch.equal(model.blocks[1](tokens, timestep=t, class_labels=y), tokens)
    assert model.labels.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert model.blocks[0].ff.net[2].weight.abs().max().item() == pytest.approx(
        (6 / (5 * 32)) ** 0.5, rel=0.02
    )
    first = model.blocks[0].ff.net[2].weight.clone()
    model.reset()
    assert not torch.equal(first, model.blocks[0].ff.net[2].weight)


def test_every_parameter_of_a_new_network_learns(inputs):
    torch.manual_seed(0)
    model = DiT(TINY)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    model(*inputs).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_relabel(file, inputs):
    x, t, _ = inputs
    old = dit.load(file, TINY)
    nulls = torch.full((6,), old.null)
    for start in ("null", "drawn", "source"):
        model = dit.load(file, TINY)
        model.relabel(3, start)
        assert model.null == model.config.classes == 3
        assert model.labels.weight.shape == (4, 32)
        assert model.labels.weight.requires_grad
        with torch.no_grad():
            assert torch.equal(model(x, t, torch.full((6,), 3)), old(x, t, nulls))
            same_as = {"null": nulls, "source": torch.ones(6, dtype=torch.int64)}.get(start)
            out = model(x, t, torch.ones(6, dtype=torch.int64))
            if same_as is not None:
                assert torch.equal(out, old(x, t, same_as))
            else:
                assert model.labels.weight[:3].abs().max() < 0.1
    with pytest.raises(BenchError, match="6 classes, but the source has 5"):
        old.relabel(6, "source")


def test_a_relabelled_network_is_saved_as_it_is(file, inputs, tmp_path):
    model = dit.load(file, TINY)
    model.relabel(2, "source")
    model.save(tmp_path / "a.safetensors")
    again = dit.load(tmp_path / "a.safetensors")
    assert again.null == 2
    x, t, _ = inputs
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        assert torch.equal(model(x, t, y), again(x, t, y))


def test_a_training_checkpoint_gives_its_average(file, inputs, tmp_path):
    other = original(seed=1)
    torch.save(
        {"model": other, "ema": original(), "opt": {"lr": 1e-4}, "args": argparse.Namespace(lr=1)},
        tmp_path / "c.pt",
    )
    with torch.no_grad():
        assert torch.equal(dit.load(tmp_path / "c.pt", TINY)(*inputs), dit.load(file, TINY)(*inputs))


class Intruder:
    def __reduce__(self):
        return (open, ("intruder", "w"))


def test_a_file_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Intruder()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Intruder()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(BenchError, match="not a file of weights"):
            dit.load(tmp_path / name, TINY)
    assert not (tmp_path / "intruder").exists()


def test_wrong_files_are_named(file, tmp_path):
    cases = {
        "missing.pt": (None, "no such file"),
        "list.pt": ([1, 2], "expected a state dict"),
        "lacks.pt": ({k: v for k, v in original().items() if k != "blocks.1.attn.qkv.bias"},
                     r"transformer_blocks\.1\.attn1\.to_qkv\.bias is missing"),
        "more.pt": (original() | {"blocks.0.x.weight": torch.ones(1)}, r"blocks\.0\.x\.weight is unknown"),
        "other.pt": (original() | {"pos_embed": torch.zeros(1, 16, 32)}, "pos_embed is not the sinusoids"),
    }  # fmt: skip
    for name, (content, message) in cases.items():
        if content is not None:
            torch.save(content, tmp_path / name)
        with pytest.raises(BenchError, match=message):
            dit.load(tmp_path / name, TINY)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BenchError, match="not a file of weights"):
        dit.load(file, TINY)


def test_wrong_shapes_are_named(file):
    with pytest.raises(BenchError, match=r"weights of another network: .* is \(6, 32\), expected \(8, 32\)"):
        dit.load(file, replace(TINY, classes=7))
    with pytest.raises(BenchError, match="width is 30, expected a multiple of 4"):
        DiTConfig(width=30)


def test_wrong_folders_are_named(tmp_path):
    net = plain(original())
    net.save_pretrained(tmp_path / "a")
    config = tmp_path / "a" / "config.json"
    said = json.loads(config.read_text())
    stored = weights.read(tmp_path / "a" / "diffusion_pytorch_model.safetensors")
    name = "transformer_blocks.2.norm1.emb.timestep_embedder.linear_1.bias"
    weights.write(tmp_path / "a" / "diffusion_pytorch_model.safetensors", stored | {name: stored[name] + 1})
    with pytest.raises(BenchError, match="embedder of block 2 is not that of block 0"):
        dit.load(tmp_path / "a")
    for change, message in (
        ({"activation_fn": "geglu"}, "activation_fn is 'geglu', a DiT's is 'gelu-approximate'"),
        ({"num_layers": None}, "expected the configuration of a DiTTransformer2DModel"),
    ):
        config.write_text(json.dumps(said | change))
        with pytest.raises(BenchError, match=message):
            dit.load(tmp_path / "a")
    config.unlink()
    with pytest.raises(BenchError, match=r"config\.json"):
        dit.load(tmp_path / "a")
    config.write_text(json.dumps(said))
    (tmp_path / "a" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BenchError, match="expected diffusion_pytorch_model"):
        dit.load(tmp_path / "a")
