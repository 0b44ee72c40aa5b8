"""The track `controlnet`: how many steps until a pre-trained diffusion model follows a condition.

Paper: Zhong et al., Diffusion Tuning: Transferring Diffusion Models via Chain of Forgetting (NeurIPS 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.contract import Claim, Embedded, Inputs, Metric, PaperEffect, Score, Snapshot, Task
from bench.tracks.common.costs import SECONDS_PER_STEP
from bench.tracks.common.names import check_names
from bench.tracks.common.sources import SourcedTrack
from bench.tracks.controlnet import settings
from bench.tracks.controlnet.sources.by_name import ControlSource, source_of

if TYPE_CHECKING:
    from bench.tracks.controlnet.data import ControlData, Truth

#: What the paper says of Diff-Tuning against standard ControlNet, a mean over its tasks.
_PAPER = PaperEffect(
    value=math.log(1 - 0.24), text="−24 % steps",
    source="abstract, arXiv 2406.00773, both versions",
)  # fmt: skip


class ControlNet(SourcedTrack):
    """Pictures that follow a condition, from a base that knew none; the fewer steps of training, the better.

    A method is given `ControlData`, trains for the recipe's steps, and after each of ``data.snapshots`` steps
    calls ``ctx.snapshot(step, {"sample": sample})``. It answers with a mapping. ``"sample"`` is a function of
    `Controls` and a generator on the CPU that gives pictures (n, H, W, 3) float32 from -1 to 1.
    ``"parameters"``: how many numbers were trained. ``"seconds_per_step"``, optional: wall seconds per
    optimisation step.

    Every row has to sample for the same conditions from the same noise, whatever its seed. A function whose
    network has diverged gives NaN.
    """

    name = "controlnet"
    title = "A diffusion model learns to follow a condition: steps until it does"
    metrics = (
        Metric(
            name="convergence_step", better="lower", digits=0, censored=True,
            doc="the first of two successive snapshots with a share of .5; never: beyond the last step",
        ),
        Metric(
            name="step_25", better="lower", digits=0, censored=True, kind="diagnostic",
            doc="the same for a share of .25",
        ),
        Metric(
            name="step_75", better="lower", digits=0, censored=True, kind="diagnostic",
            doc="the same for a share of .75",
        ),
        Metric(
            name="share", better="higher", digits=3,
            doc="in the end: agreement with the condition, 0 at the floor and 1 at the ceiling",
        ),
        Metric(name="area", better="higher", digits=3, doc="mean share over the steps of training"),
        Metric(
            name="leap", better="neither", digits=2, kind="diagnostic",
            doc="largest rise of the share over a doubling of the steps, as a part of the whole rise",
        ),
        Metric(
            name="kid_lite0", better="lower",
            doc="KID-lite0: squared kernel distance to held-out pictures on EfficientNet-Lite0 features;"
            " compares with itself alone",
        ),
        Metric(
            name="agreement", better="neither", kind="diagnostic", averaged=False,
            doc="the paper's measure in its own unit: SSIM of blurred maps (edge, sketch), mean squared error"
            " (depth, normal; lower is better), pixel accuracy (segmentation)",
        ),
        Metric(
            name="ceiling", better="neither", kind="diagnostic", averaged=False,
            doc="the same of the real held-out pictures, read as generated ones are",
        ),
        Metric(
            name="floor", better="neither", kind="diagnostic", averaged=False,
            doc="the same of the generated pictures against conditions of others",
        ),
        Metric(
            name="f1", better="neither", digits=3, kind="diagnostic",
            doc="of lines with a pixel of tolerance (edge, sketch): generous to noise, so it is no measure",
        ),
        Metric(name="parameters", better="lower", digits=0, kind="cost", doc="trained numbers"),
        SECONDS_PER_STEP,
    )  # fmt: skip
    reference = "controlnet"
    # Whatever the row, a seed's batches and its first weights of the ControlNet are the same.
    paired_seeds = True
    claim = "24 % fewer steps to convergence than standard ControlNet, averaged over its tasks (abstract)"
    claims = (
        Claim(
            name="Diff-Tuning against standard ControlNet", rows=("diff-tuning",), over=("controlnet",),
            scale="log ratio", paper=_PAPER,
        ),
    )  # fmt: skip
    Grid = settings.Grid
    Run = settings.Run
    by_value = ("_LAPTOP", "_PAPER", "_PAPER_STEPS", "Recipe")
    preload = (
        "numpy", "PIL.Image", "safetensors.torch", "scipy.ndimage", "timm", "torch",
        "torchvision.transforms.v2", "diffusers.models.controlnets.controlnet",
        "diffusers.models.unets.unet_2d_condition", "diffusers.schedulers.scheduling_ddim",
        "diffusers.schedulers.scheduling_ddpm", "transformers", "xarray",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """There is one task for each condition of a set of pictures.

        Conditions of one set are of the same test pictures, so these tasks share a data set.

        Raises:
            BenchError: an unknown condition.
        """
        check_names("controlnet: grid.conditions", grid.conditions, settings.TASKS)
        found = ((name, *settings.TASKS[name]) for name in grid.conditions)
        return [
            Task(name=name, params={"condition": condition, "pictures": pictures}, data=pictures)
            for name, condition, pictures in found
        ]

    def source(self, task: Task) -> ControlSource:
        """See `SourcedTrack.source`."""
        return source_of(task)

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> ControlData:
        """Pictures for training with their conditions, and the pre-trained model; nothing held out."""
        return source_of(task).control_data(task, run, inputs)

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """Held-out pictures and their conditions, the annotator, and what it reads from the pictures."""
        return source_of(task).truth(task, run, inputs)

    def score(self, task: Task, answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
        """How generated pictures follow conditions; see `scoring.score`."""
        from bench.tracks.controlnet import scoring

        return scoring.score(answer, truth, history)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """How every row trains on the condition, and when it is looked at."""
        recipe = settings.recipe(task.name, run)
        return {**asdict(recipe), "looks": list(settings.snapshots_of(recipe, run))}

    def kind(self, task: Task) -> str:
        """Tasks of one annotator and one set of pictures go the same way through the code."""
        return f"{task.params['condition']} on {task.params['pictures']}"

    def embedded(self) -> Sequence[Embedded]:
        """The pre-trained networks of the laptop's tasks."""
        from bench.tracks.controlnet import pretrain

        return pretrain.embedded()

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """What the scale is, what to know of the tests and of some rows, what stands in for what."""
        if not any(t.name in settings.LAPTOP for t in tasks):
            return {**settings.NOTES, "assumed": settings.ASSUMED}
        return {**settings.NOTES, "model": settings.MODEL, "assumed": settings.ASSUMED_LAPTOP}

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """One task with few tiles, trained for three steps."""
        grid = settings.Grid(conditions=("segmentation",))
        return grid, settings.Run(
            steps=3, batch=8, samples=16, chain=2, bank=16, pictures=48, snapshots=(1, 2, 3), reader=30,
        )  # fmt: skip


TRACK = ControlNet()
