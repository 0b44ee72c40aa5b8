"""A fine-tuning step of DiT-XL/2: with latents encoded once, against encoding its pictures at every step.

Random weights, batch 32, bf16, 256-pixel pictures. On a GPU: steps a second and memory (``steps.py`` has the
share of the card's peak, and a plain loop beside it). Without one the same code runs on a tiny network. Run by
hand: ``make perf``. Prints ratios; asserts only what has a wide margin.
"""

import time

import pytest

pytestmark = [pytest.mark.perf, pytest.mark.timeout(1200)]


def vae(tiny):
    from diffusers import AutoencoderKL

    widths = (8, 8, 8, 8) if tiny else (128, 256, 512, 512)
    return AutoencoderKL(
        block_out_channels=widths, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=1 if tiny else 2, latent_channels=4,
        norm_num_groups=4 if tiny else 32,
    )  # fmt: skip


def timed(step, device, n):
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(n):
        step()
    wait()
    return (time.perf_counter() - start) / n


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_latents_encoded_once_are_cheaper_than_a_vae_at_every_step(device, capsys):
    import torch

    from bench.nn.time_steps import psi
    from bench.tracks.dit_transfer import training
    from bench.tracks.dit_transfer.nets import tuning
    from bench.tracks.dit_transfer.nets.dit import DIT_XL_2, DiT, DiTConfig
    from bench.tracks.dit_transfer.sources.latents import moments

    tiny = device == "cpu"
    batch, side = (4, 64) if tiny else (32, 256)
    small = DiTConfig(
        size=8, channels=4, classes=101, patch=2, layers=2, width=32, heads=2, learned_sigma=True
    )
    with torch.device(device):
        model = DiT(small if tiny else DIT_XL_2)
        encoder = vae(tiny).to(torch.float32 if tiny else torch.bfloat16).eval().requires_grad_(False)
    tuning.full(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    pictures = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, device=device)
    latents = torch.randn(batch, *model.shape, device=device)
    y = torch.randint(101, (batch,), device=device)

    def step(encoded_now):
        x = latents
        if encoded_now:
            mean, logvar = moments(encoder, pictures).unbind(1)
            x = (mean + (0.5 * logvar).exp() * torch.randn_like(mean)) * 0.18215
        draw = torch.Generator().manual_seed(0)
        with torch.autocast(device, torch.bfloat16):
            (loss,) = training.losses(model, [(x, y, psi())], draw)
        loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    n = 20
    if not tiny:
        torch.cuda.reset_peak_memory_stats()
    cached = timed(lambda: step(False), device, n)
    memory = 0 if tiny else torch.cuda.max_memory_allocated() / 2**30
    each = timed(lambda: step(True), device, n)
    with capsys.disabled():
        print(f"\ncached {1 / cached:.2f} steps/s, VAE at every step {1 / each:.2f}: {each / cached:.2f} x")
        if not tiny:
            print(f"{torch.cuda.get_device_name()}: {memory:.1f} GiB")
    assert cached < each
