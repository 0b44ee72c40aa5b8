"""A step of the row `controlnet` against the bare loop of diffusers, on the laptop's base with random weights.

Run by hand: ``make perf``. Both by turns in one process; prints the ratio (bar: 1.1) and the share that looks take of
steps and looks together (bar: .4; of a whole cell, which loads and scores besides, they take .35 at most, as the cost
columns of the published records say).
"""

import statistics
import time

import pytest

pytestmark = [pytest.mark.perf, pytest.mark.timeout(1200)]
BATCH, STEPS, ROUNDS = 16, 10, 5


def test_a_step_costs_what_the_bare_loop_does(capsys, tmp_path):
    import numpy as np
    import torch
    from controlnet_reference import context

    from bench.nn.diffusion import Diffusion
    from bench.tracks.controlnet import training
    from bench.tracks.controlnet.data import Base, ControlData, Controls
    from bench.tracks.controlnet.nets import unet
    from bench.tracks.controlnet.settings import LAPTOP, Run, UNetConfig, recipe, snapshots_of
    from bench.tracks.controlnet.sources import laptop

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    maps = rng.random((64, 32, 32, 3)).astype(np.float32)
    pictures = laptop.Aligned(rng.integers(0, 255, (64, 32, 32, 3), np.uint8), maps)
    base = Base(
        unet=lambda: unet.unet(UNetConfig()), diffusion=Diffusion(unet.SCHEDULE), shape=(3, 32, 32),
        pixels=True, encode=laptop._encoded, decode=laptop._decoded,
    )  # fmt: skip
    run = Run(steps=STEPS, batch=BATCH)
    data = ControlData(
        condition="segmentation", channels=3, pictures=pictures, base=base, bank=lambda folder: pictures,
        recipe=recipe("segmentation", run), snapshots=(),
    )  # fmt: skip

    def ours():
        net = training.start(data, context(tmp_path))
        fitted = training.fit(net, training.denoising(net, data), data, context(tmp_path))
        return fitted.seconds_per_step, net

    ratios, shares = [], []
    for _ in range(ROUNDS):
        plain = bare(base, pictures)
        step, net = ours()
        ratios.append(step / plain)
        started = time.perf_counter()
        training.sampler(net, data)(Controls(maps, ("",) * 64), torch.Generator().manual_seed(0))
        shares.append((time.perf_counter() - started) / step)
    look = statistics.median(shares)
    cell = {}
    for task in LAPTOP:
        of = recipe(task, Run())
        looks = len(snapshots_of(of, Run())) * look
        cell[task] = looks / (looks + of.steps)
    with capsys.disabled():
        print(f"\nstep {step:.3f} s, bare loop {plain:.3f} s: ratios {', '.join(f'{r:.2f}' for r in ratios)}")
        print(
            f"a look is {look:.1f} steps: {', '.join(f'{v:.2f} of a cell of {n}' for n, v in cell.items())}"
        )
    assert statistics.median(ratios) <= 1.1
    assert max(cell.values()) <= 0.4


def bare(base, pictures):
    """Seconds a step of the training loop as diffusers' example has it."""
    import numpy as np
    import torch
    from diffusers import ControlNetModel, DDPMScheduler

    frozen = base.unet().requires_grad_(False)
    control = ControlNetModel.from_unet(frozen, conditioning_embedding_out_channels=(16,)).train()
    control.to(memory_format=torch.channels_last)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    optimiser = torch.optim.AdamW(control.parameters(), lr=1e-3, fused=True)
    started = time.perf_counter()
    for _ in range(STEPS):
        of = pictures.batch(np.random.randint(64, size=BATCH), torch.Generator())
        noise, t = torch.randn_like(of.x), torch.randint(1000, (BATCH,))
        noised = scheduler.add_noise(of.x, noise, t)
        down, middle = control(noised, t, of.text, controlnet_cond=of.maps, return_dict=False)
        out = frozen(
            noised, t, of.text, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        torch.nn.functional.mse_loss(out, scheduler.get_velocity(of.x, noise, t)).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return (time.perf_counter() - started) / STEPS
