"""What is trained: how much, that nothing changes before the first step, and nothing else after it."""

import copy

import pytest
import torch
import torch.nn.functional as F

from bench.contract import BenchError
from bench.tracks.dit_transfer.nets import tuning
from bench.tracks.dit_transfer.nets.dit import DIT_XL_2, DiT, DiTConfig

SMALL = DiTConfig(size=8, channels=3, classes=4, patch=2, layers=4, width=32, heads=2)
WAYS = {
    "full": ("full", {}),
    "bitfit": ("bitfit", {}),
    "lora-8": ("lora", {"rank": 8}),
    "lora-16": ("lora", {"rank": 16}),
    "parallel": ("adapter", {"place": "parallel"}),
    "sequential": ("adapter", {"place": "sequential"}),
    "prompts": ("prompts", {"tokens": 5}),
    "difffit": ("difffit", {}),
}
#: Trained parameters of DiT-XL/2 for 101 classes (paper sheet, §6).
COUNTS = {
    "full": 673_799_072,
    "bitfit": 607_136,
    "lora-8": 1_149_696,
    "lora-16": 2_181_888,
    "parallel": 4_280_320,
    "sequential": 4_280_320,
    "difffit": 835_232,
    "prompts": 102 * 1152 + 28 * 5 * 1152,  # no published number fits
}


@pytest.fixture(scope="module")
def pretrained():
    """A network with weights that are nowhere zero, as training leaves them."""
    torch.manual_seed(0)
    model = DiT(SMALL)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.15)
    return model.eval()


@pytest.fixture(scope="module")
def xl():
    with torch.device("meta"):
        model = DiT(DIT_XL_2)
        model.relabel(101)
    return model


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(5)
    return torch.randn(4, 3, 8, 8, generator=g), torch.tensor([0, 9, 500, 999]), torch.tensor([0, 1, 3, 4])


def tuned(pretrained, way):
    model = copy.deepcopy(pretrained)
    kind, settings = WAYS[way]
    torch.manual_seed(3)
    return model, tuning.tune(model, kind, **settings)


def one_step(model, parameters, inputs):
    optimizer = torch.optim.SGD(parameters.values(), lr=0.01)
    (model(*inputs) - 1).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("way", WAYS)
def test_trained_parameters_of_dit_xl_2(xl, way):
    model = copy.deepcopy(xl)
    kind, settings = WAYS[way]
    with torch.device("meta"):
        parameters = tuning.tune(model, kind, **settings)
    assert sum(p.numel() for p in parameters.values()) == COUNTS[way]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == COUNTS[way]


@pytest.mark.parametrize("way", [w for w in WAYS if w != "prompts"])
def test_the_output_is_as_before(pretrained, inputs, way):
    model, _ = tuned(pretrained, way)
    with torch.no_grad():
        assert torch.allclose(model(*inputs), pretrained(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_step_changes_what_is_trained_and_nothing_else(pretrained, inputs, way):
    model, parameters = tuned(pretrained, way)
    before = {k: p.detach().clone() for k, p in model.weights().items()}
    with torch.no_grad():
        first = model(*inputs)
    one_step(model, parameters, inputs)
    moved = {k for k, p in model.weights().items() if not torch.equal(p, before[k])}
    assert moved <= parameters.keys()
    late = {k for k in parameters.keys() - moved if ".lora_A." in k or ".down." in k}
    assert moved | late == parameters.keys()  # the first factor of a product that starts at zero waits a step
    assert (
        model.labels.weight
        is parameters["transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"]
    )
    with torch.no_grad():
        assert (model(*inputs) - first).abs().max() > 1e-4
        assert (pretrained(*inputs) - first).abs().max() < 1e-4 or way == "prompts"
    one_step(model, parameters, inputs)
    assert {k for k, p in model.weights().items() if not torch.equal(p, before[k])} == parameters.keys()


@pytest.mark.parametrize("way", WAYS)
def test_saved_and_restored(pretrained, inputs, tmp_path, way):
    model, parameters = tuned(pretrained, way)
    one_step(model, parameters, inputs)
    tuning.save(model, tmp_path / "a.safetensors", {"way": way})
    again, _ = tuned(pretrained, way)
    with torch.no_grad():
        assert not torch.equal(again(*inputs), model(*inputs))
        tuning.restore(again, tmp_path / "a.safetensors")
        assert torch.equal(again(*inputs), model(*inputs))
    if way != "full":
        stored = sum(p.numel() for p in parameters.values())
        assert (tmp_path / "a.safetensors").stat().st_size < 4 * stored + 20_000
    other, _ = tuned(pretrained, "bitfit" if way != "bitfit" else "lora-8")
    with pytest.raises(BenchError, match="weights of another network"):
        tuning.restore(other, tmp_path / "a.safetensors")


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_on_its_own(pretrained, inputs, way):
    model, _ = tuned(pretrained, way)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        before = model(*inputs)
        assert torch.equal(twin(*inputs), before)
        for p in tuning.trained(twin).values():
            p.add_(0.1)
        assert torch.equal(model(*inputs), before)
        assert not torch.equal(twin(*inputs), before)


def test_prompts_stand_in_front_of_every_block(pretrained, inputs):
    model, parameters = tuned(pretrained, "prompts")
    x, t, y = inputs
    own = [p for k, p in parameters.items() if k.endswith(".prompts")]
    assert [tuple(p.shape) for p in own] == [(5, 32)] * 4
    with torch.no_grad():
        tokens = pretrained.net.pos_embed(x)
        for block, prompts in zip(pretrained.blocks, own, strict=True):
            tokens = block(torch.cat([prompts.expand(4, -1, -1), tokens], 1), timestep=t, class_labels=y)[
                :, 5:
            ]
        c = pretrained.blocks[0].norm1.emb(t, y, hidden_dtype=torch.float32)
        shift, scale = pretrained.net.proj_out_1(F.silu(c))[:, None].chunk(2, -1)
        out = pretrained.net.proj_out_2(pretrained.net.norm_out(tokens) * (1 + scale) + shift)
        patches = F.unfold(model(x, t, y), 2, stride=2).reshape(
            4, 3, 4, 16
        )  # channel, place in a patch, patch
        assert torch.allclose(out.reshape(4, 16, 4, 3).permute(0, 3, 2, 1), patches, atol=1e-5)
        assert (model(x, t, y) - pretrained(x, t, y)).abs().max() > 1e-3


def test_where_an_adapter_lies(pretrained):
    x = torch.randn(2, 7, 32)
    for way in ("parallel", "sequential"):
        model, _ = tuned(pretrained, way)
        ff = model.blocks[1].ff
        torch.nn.init.normal_(ff.up.weight)
        torch.nn.init.normal_(ff.up.bias)
        with torch.no_grad():
            plain = pretrained.blocks[1].ff(x)
            source = x if way == "parallel" else plain
            g = torch.relu(source @ ff.down.weight.T + ff.down.bias) @ ff.up.weight.T + ff.up.bias
            assert torch.allclose(ff(x), plain + 0.1 * g, atol=1e-5)


def test_scales_lie_in_the_first_half_of_the_blocks(pretrained):
    _, parameters = tuned(pretrained, "difffit")
    scales = [k for k in parameters if k.endswith(".gamma")]
    assert {int(k.split(".")[1]) for k in scales} == {0, 1}
    assert sum(parameters[k].numel() for k in scales) == 2 * 6 * 32
    norms = [k for k in parameters if "norm" in k and k.endswith("weight") and ".emb." not in k]
    assert len(norms) == 2 * 4 + 1


def test_what_cannot_be_is_named(pretrained):
    model = copy.deepcopy(pretrained)
    with pytest.raises(BenchError, match="did you mean 'lora'"):
        tuning.tune(model, "lorra")
    with pytest.raises(BenchError, match="lora has no setting 'rnak'; did you mean 'rank'"):
        tuning.tune(model, "lora", rnak=4)
    with pytest.raises(BenchError, match="'parallel' or 'sequential', not 'beside'"):
        tuning.tune(model, "adapter", place="beside")
    tuning.tune(model, "bitfit")
    with pytest.raises(ValueError, match="chosen before"):
        tuning.tune(model, "full")


@pytest.mark.parametrize("way", WAYS)
def test_checkpointed_blocks_have_the_same_gradients(pretrained, inputs, way):
    grads = []
    for checkpointed in (False, True):
        model, parameters = tuned(pretrained, way)
        if checkpointed:
            model.net.enable_gradient_checkpointing()
        model.train()
        model(*inputs).square().mean().backward()
        grads.append([p.grad for p in parameters.values()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads, strict=True))
