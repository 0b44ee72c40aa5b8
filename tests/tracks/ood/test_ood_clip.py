"""Dual encoders: weights by file order, both text towers opened for prompts, wrong files, no network."""

import socket

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from bench.contract import BenchError
from bench.tracks.ood.nets import clip

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning"),
]
NAMES = ["red apple", "grandfather clock", "ox", "person in a steamy room"]


def tiny_clip():
    """A CLIP with all weights drawn anew (open_clip starts several of them at zero or one)."""
    torch.manual_seed(3)
    model = open_clip.CLIP(**TINY, quick_gelu=True).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim:
                p.add_(0.1 * torch.randn_like(p))
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same small CLIP in every form in which a user may have it."""
    folder, model = tmp_path_factory.mktemp("clip"), tiny_clip()
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "clip.safetensors")
    torch.save(state, folder / "clip.pt")
    torch.save(
        {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}}, folder / "trained.pt"
    )
    half = tiny_clip()
    open_clip.convert_weights_to_fp16(half)  # as OpenAI's archives are
    half.attn_mask = half._buffers.pop("attn_mask")  # there a constant, no weight
    traced = torch.jit.trace(half.float(), (torch.zeros(1, 3, 32, 32), torch.zeros(1, 24, dtype=torch.long)))
    torch.jit.save(traced, folder / "openai.pt")
    return folder, model


@pytest.fixture(scope="module")
def lite():
    return clip.lite()


@pytest.fixture(scope="module")
def causal(files):
    return clip.from_file(files[0] / "clip.safetensors", TINY, quick_gelu=True)


@pytest.fixture(params=["lite", "causal"])
def encoder(request):
    return request.getfixturevalue(request.param)


# ------------------------------------------------------------------------------------------- text towers


def test_texts_are_encoded_as_open_clip_encodes_them(encoder, files):
    texts = [f"a photo of a {n}." for n in NAMES]
    if isinstance(encoder.text, clip.CausalTower):
        tokens = open_clip.SimpleTokenizer(context_length=24)(texts)
        expected = files[1].encode_text(tokens, normalize=True)
    else:
        expected = F.normalize(encoder.text.encoder(encoder._tokenize(texts)), dim=-1)
    assert torch.allclose(encoder.text_features(texts), expected, atol=1e-5)


@pytest.mark.parametrize("template", ["a photo of a {}", "an emoji of the {}."])
def test_a_context_of_the_words_of_a_template_gives_the_plain_texts_features(encoder, template):
    before, _, after = template.partition("{}")
    context = encoder.word_embeddings(before)
    embeddings, mask = encoder.embed_tokens([n + after for n in NAMES])
    prompted = encoder.text_features_from(*clip.with_context(embeddings, mask, context))
    plain = encoder.text_features([template.format(n) for n in NAMES])
    assert (prompted - plain).abs().max() < 1e-5
    other = encoder.text_features_from(*clip.with_context(embeddings, mask, context.flip(0)))
    assert (other - plain).abs().max() > 1e-3


def test_a_context_may_differ_by_text_and_receives_a_gradient(encoder):
    embeddings, mask = encoder.embed_tokens(NAMES)
    one = 0.02 * torch.randn(4, encoder.text.width)
    many = one.expand(len(NAMES), -1, -1).clone().requires_grad_()
    features = encoder.text_features_from(*clip.with_context(embeddings, mask, many))
    shared = encoder.text_features_from(*clip.with_context(embeddings, mask, one))
    assert torch.allclose(features, shared, atol=1e-6)
    features[1, 0].backward()
    touched = many.grad.flatten(1).norm(dim=1) > 0
    assert touched.tolist() == [False, True, False, False]


def test_a_text_is_the_same_alone_and_beside_a_longer_one(encoder):
    both = encoder.text_features(["ox", "a person who sits in a steamy room"])
    assert torch.allclose(both[:1], encoder.text_features(["ox"]), atol=1e-5)


def test_too_long_a_text_or_context_is_an_error_that_says_so(encoder):
    with pytest.raises(BenchError, match="shorten it"):
        encoder.embed_tokens(["word " * 200])
    embeddings, mask = encoder.embed_tokens(["ox"])
    context = torch.zeros(encoder.text.limit, encoder.text.width)
    with pytest.raises(BenchError, match="shorter context"):
        encoder.text_features_from(*clip.with_context(embeddings, mask, context))


def test_features_of_a_list_are_computed_once(encoder, monkeypatch):
    first = encoder.text_features(NAMES)
    monkeypatch.setattr(encoder.text, "pool", None)
    assert encoder.text_features(list(NAMES)) is first


# ------------------------------------------------------------------------------------------ image towers


def test_image_features_are_those_of_open_clip_and_of_length_one(causal, files):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    x = causal.preprocess(pictures)
    by_hand = torch.tensor(pictures / 255.0, dtype=torch.float32).permute(0, 3, 1, 2)
    mean, std = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)
    assert torch.allclose(x, (by_hand - mean[:, None, None]) / std[:, None, None], atol=1e-6)
    features = causal.image_features(x)
    assert torch.allclose(features, files[1].encode_image(x, normalize=True), atol=1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(5))
    logits = causal.logits(features, causal.text_features(NAMES))
    assert logits.shape == (5, 4)
    assert causal.logit_scale == pytest.approx(files[1].logit_scale.exp().item())
    assert logits.abs().max() <= causal.logit_scale * 1.0001


def test_only_the_image_tower_is_trained_and_a_fresh_copy_is_apart(lite):
    assert not any(p.requires_grad for p in lite.parameters())
    assert not lite.training
    other = lite.fresh()
    parameters = other.unfreeze_visual()
    assert sum(p.numel() for p in parameters) == 3_371_008 + 1280 * 256
    assert not any(p.requires_grad for p in [*other.text.parameters(), *lite.parameters()])
    assert other.text is lite.text
    x = torch.randn(2, 3, 64, 64)
    before = lite.image_features(x)
    with torch.no_grad():
        parameters[0].mul_(2)
    assert torch.equal(lite.image_features(x), before)
    assert not torch.allclose(other.image_features(x), before, atol=1e-3)


# ------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["clip.safetensors", "clip.pt", "trained.pt", "openai.pt"])
def test_every_form_of_the_weights_gives_the_same_model(name, files, causal):
    loaded = clip.from_file(files[0] / name, TINY, quick_gelu=True)
    x = torch.randn(2, 3, 32, 32)
    atol = 5e-3 if name == "openai.pt" else 1e-6  # that one went through half precision
    assert torch.allclose(loaded.image_features(x), causal.image_features(x), atol=atol)
    assert torch.allclose(loaded.text_features(NAMES), causal.text_features(NAMES), atol=atol)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_the_activation_matters_and_is_the_callers_to_say(files, causal):
    other = clip.from_file(files[0] / "clip.pt", TINY, quick_gelu=False)
    x = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(other.image_features(x), causal.image_features(x), atol=1e-4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b"<html>not found</html>"), "is a web page"),
        (lambda p: p.write_bytes(b""), "it has 0 bytes"),
        (lambda p: torch.save({"state_dict": {"visual.proj": torch.zeros(3, 4)}}, p), "is missing"),
        (lambda p: torch.save(tiny_clip(), p), "holds an object of"),  # a pickled module: never run
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_missing_or_wrong_file_is_an_error_that_names_it(make, says, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    make(path)
    with pytest.raises(BenchError) as error:
        clip.from_file(path, TINY, quick_gelu=True)
    assert str(path) in str(error.value)
    if suffix == ".pt" or says == "no such file":
        assert says in str(error.value)


def test_vit_b16_refuses_the_weights_of_a_smaller_network(files):
    with pytest.raises(BenchError, match=r"another network: .* is missing and \d+ more"):
        clip.vit_b16(files[0] / "clip.pt")


@pytest.mark.slow
def test_vit_b16_has_the_published_shape(tmp_path):
    model = open_clip.CLIP(**clip.VIT_B16, quick_gelu=True)
    torch.save(model.state_dict(), tmp_path / "vit.pt")
    encoder = clip.vit_b16(tmp_path / "vit.pt")
    assert sum(p.numel() for p in encoder.unfreeze_visual()) == 86_192_640
    assert encoder.image_features(encoder.preprocess(np.zeros((1, 300, 250, 3), np.uint8))).shape == (1, 512)
    assert encoder.text_features(["a cat"]).shape == (1, 512)


def test_save_and_load(encoder, tmp_path):
    encoder = encoder.fresh()
    encoder.logit_scale = 33.0
    x = torch.randn(2, 3, encoder.preprocess.size, encoder.preprocess.size)
    with torch.no_grad():
        for p in [*encoder.visual.parameters(), *encoder.text.projection().values()]:
            p.add_(0.01)
    images, texts = encoder.image_features(x), encoder.text_features(["a clock"])
    encoder.save(tmp_path / "a.safetensors", about={"recipe": "abc"})
    encoder.save(tmp_path / "half.safetensors", half=True)
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"recipe": "abc"}
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "a.safetensors").stat().st_size
    with torch.no_grad():
        for p in [*encoder.visual.parameters(), *encoder.text.projection().values()]:
            p.zero_()
    encoder.load(tmp_path / "a.safetensors")
    assert torch.equal(encoder.image_features(x), images)
    assert torch.allclose(encoder.text_features(["a clock"]), texts, atol=1e-6)
    assert encoder.logit_scale == 33.0
    encoder.load(tmp_path / "half.safetensors")
    assert F.cosine_similarity(encoder.image_features(x), images).min() > 0.999


def test_a_saved_file_of_another_model_or_none_is_an_error(lite, causal, tmp_path):
    causal.save(tmp_path / "other.safetensors")
    with pytest.raises(BenchError, match="another network"):
        lite.fresh().load(tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:1000])
    with pytest.raises(BenchError, match=r"torn\.safetensors: not a file of weights"):
        lite.fresh().load(tmp_path / "torn.safetensors")
    with pytest.raises(BenchError, match="no such file"):
        lite.fresh().load(tmp_path / "none.safetensors")


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert clip.lite().text_features(["a clock"]).shape == (1, 256)
