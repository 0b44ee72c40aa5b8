"""The track `dit_transfer`: a pre-trained diffusion transformer moved to eight targets.

Paper: Zhong et al., Diffusion Tuning: Transferring Diffusion Models via Chain of Forgetting (NeurIPS 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.contract import Claim, Embedded, Inputs, Metric, PaperEffect, Score, Snapshot, Stage, Task
from bench.tracks.common.costs import SECONDS_PER_STEP
from bench.tracks.common.names import check_names
from bench.tracks.common.sources import SourcedTrack
from bench.tracks.dit_transfer import settings, stages
from bench.tracks.dit_transfer.sources.by_name import TransferSource, source_of

if TYPE_CHECKING:
    from bench.tracks.dit_transfer.data import TransferData, Truth

#: What the paper says of Diff-Tuning against full fine-tuning, a mean over targets of changes of FID.
_PAPER = PaperEffect(
    value=math.log(1 - 0.246), text="−24.6 % FID",
    source="abstract, arXiv 2406.00773, final version (26 % in the first)",
)  # fmt: skip

_LITE = "on EfficientNet-Lite0 features; compares with itself alone"


class DitTransfer(SourcedTrack):
    """Pictures of a target, sampled by a class-conditional diffusion transformer pre-trained on others.

    A method is given `TransferData` and answers with a mapping. ``"sample"`` is a function of labels (n,)
    int64 and a generator on the CPU that gives pictures (n, H, W, 3) uint8. Optional are ``"parameters"``,
    how many numbers were trained, ``"seconds_per_step"``, wall seconds per optimisation step, and
    ``"relay"``, a function of a time step, labels and a generator that gives pictures which the tuned network
    samples down to that step, and the pre-trained one from there.

    Every row has to sample for the same labels from the same noise, whatever its seed. A function whose
    network has diverged gives an array of NaN.
    """

    name = "dit_transfer"
    title = "Transfer of a diffusion transformer to eight targets"
    version = 2
    metrics = (
        Metric(
            name="kid_lite0", better="lower",
            doc=f"KID-lite0: squared kernel distance to held-out pictures {_LITE}; unbiased, can be below 0",
        ),
        Metric(
            name="fd_lite0", better="lower", digits=1,
            doc=f"FD-lite0: Fréchet distance to held-out pictures {_LITE}, at one n a target",
        ),
        Metric(name="precision", better="higher", digits=3, doc="share of drawn pictures near held-out ones"),
        Metric(name="recall", better="higher", digits=3, doc="share of held-out pictures near drawn ones"),
        Metric(
            name="fid", better="lower", digits=2,
            doc="Fréchet distance on Inception features, by torch-fidelity's weights; paper profile alone",
        ),
        Metric(
            name="fd_floor", better="neither", digits=1, kind="diagnostic",
            doc="FD-lite0 of two halves of the target's real pictures: nothing can be told apart below it",
        ),
        Metric(
            name="source_kid", better="neither", kind="diagnostic",
            doc="KID-lite0 to pictures of the pre-training: what was forgotten",
        ),
        Metric(name="parameters", better="lower", digits=0, kind="cost", doc="trained numbers"),
        SECONDS_PER_STEP,
    )  # fmt: skip
    reference = "full"
    claims = (
        Claim(
            name="Diff-Tuning against full fine-tuning", rows=("diff-tuning",), over=("full",),
            scale="log ratio", paper=_PAPER,
        ),
        Claim(
            name="Diff-Tuning against full fine-tuning, near targets", rows=("diff-tuning",), over=("full",),
            group="near", scale="log ratio", paper=_PAPER,
        ),
        Claim(
            name="Diff-Tuning on DiffFit against DiffFit", rows=("diff-tuning/difffit",), over=("difffit",),
            scale="log ratio",
        ),
    )  # fmt: skip
    Grid = settings.Grid
    Run = settings.Run
    by_value = ("_LAPTOP", "PAPER", "Recipe")
    preload = (
        "numpy", "orjson", "PIL.Image", "safetensors.torch", "scipy.spatial.distance", "timm", "torch",
        "torchvision.transforms.v2", "diffusers.models.transformers.dit_transformer_2d",
        "diffusers.schedulers.scheduling_ddim", "diffusers.schedulers.scheduling_ddpm", "peft", "open_clip",
        "transformers", "xarray",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """There is one task for each target.

        Raises:
            BenchError: an unknown target.
        """
        from bench.data.images import image_sets

        ours = (*settings.LAPTOP, *image_sets.PUBLISHER_LAYOUTS)
        if own := [t for t in grid.targets if t not in ours]:
            from bench.tracks.dit_transfer.sources import brought

            check_names("dit_transfer: grid.targets", own, (*ours, *brought.names()))
        return [
            brought.task(t) if t in own
            else Task(name=t, params={"target": t}, data=t, group=settings.group(t))
            for t in grid.targets
        ]  # fmt: skip

    def source(self, task: Task) -> TransferSource:
        """See `SourcedTrack.source`."""
        return source_of(task)

    def stages(self, task: Task, run: settings.Run) -> Sequence[Stage]:
        """The target's pictures, drawn or encoded, and the features of the real ones."""
        reads = super().stages(task, run)
        data = self.fingerprint(task, run) if self.missing(task, run) is None else None
        return (*reads, stages.features(task, run, reads, data, source_of(task).NEEDS))

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> TransferData:
        """Training pictures of the target, and the pre-trained network; nothing that is held out."""
        from bench.tracks.dit_transfer.data import TransferData

        name = task.params["target"]
        target = source_of(task).target_data(task, run, inputs)
        return TransferData(
            target=name, classes=target.classes, x=target.x, y=target.y, recipe=settings.recipe(name, run),
            pretrained=target.pretrained, bank=target.bank, decode=target.decode,
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """Features of the held-out pictures, and the labels that a method has to sample for."""
        import numpy as np

        from bench.tracks.dit_transfer import scoring
        from bench.tracks.dit_transfer.data import Truth

        name = task.params["target"]
        source, recipe = source_of(task), settings.recipe(name, run)
        target = source.target_data(task, run, inputs)
        with np.load(inputs.stage(stages.FEATURES) / stages.FEATURES_FILE) as file:
            features = dict(file)
        return Truth(
            target=name, test=features["test"], train=features["train"], source=features.get("source"),
            labels=scoring.evaluation_labels(target.y, len(target.classes), recipe.samples), recipe=recipe,
            groups=source.groups(task, run, inputs.stage), switches=tuple(run.switches), device=inputs.device,
            inception=features.get("inception"),
            weights=source.inception(run),
        )  # fmt: skip

    def score(self, task: Task, answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
        """Distances of the sampled pictures; see `scoring.score`."""
        from bench.tracks.dit_transfer import scoring

        return scoring.score(answer, truth)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """How every row trains on the target, and how pictures are sampled from what it trained."""
        return asdict(settings.recipe(task.params["target"], run))

    def kind(self, task: Task) -> str:
        """There are two kinds: packaged pictures for the small network, and photographs for the paper's."""
        return "laptop" if task.params["target"] in settings.LAPTOP else "paper"

    def embedded(self) -> Sequence[Embedded]:
        """The pre-trained network of the laptop's tasks."""
        from bench.tracks.dit_transfer import pretrain
        from bench.tracks.dit_transfer.sources import laptop

        return (pretrain.embedded(laptop.WEIGHTS),)

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """Which network stands in, and what it has seen; what is assumed."""
        if any(t.brought or t.params["target"] in settings.LAPTOP for t in tasks):
            return {
                "model": "a small diffusion transformer in pixel space, pre-trained in the suite on emoji by"
                " three artists without flags: it has seen what the near targets fluent-flat, fluent-3d and"
                " line-art draw, by other hands or in colour; drawn without guidance",
                "distance": f"KID-lite0 and FD-lite0 are {_LITE}. They are not KID and FID.",
            }
        return {
            "assumed": "the sampler (DDIM), guidance 1.5 in DiT's scale, classes as in training, the held-out"
            " pictures for the test set, a bank of 10,000: the paper has 10,000 samples in 50 steps at"
            " guidance 1.5 against a test set and says no more; batches of 32 for DiffFit too, there 64"
        }

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """One task with few flags, trained for two steps."""
        grid = settings.Grid(targets=("flags",))
        return grid, settings.Run(
            steps=2, batch=8, samples=20, chain=2, bank=8, pictures=24, switches=(500,),
        )  # fmt: skip


TRACK = DitTransfer()
