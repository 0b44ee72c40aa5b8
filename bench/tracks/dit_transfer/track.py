"""The track `dit_transfer`: a pre-trained diffusion transformer moved to eight targets.

Paper: Zhong et al., Diffusion Tuning: Transferring Diffusion Models via Chain of Forgetting (NeurIPS 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.contract import BenchError, Embedded, Inputs, Metric, Needs, Score, Snapshot, Stage, Task, Track
from bench.tracks.dit_transfer import settings, stages

if TYPE_CHECKING:
    import numpy as np

    from bench.tracks.dit_transfer.data import Kept, Parts, TransferData

_LITE = "on EfficientNet-Lite0 features; compares with itself alone"


class DitTransfer(Track):
    """Pictures of a target, drawn by a class-conditional diffusion transformer that was trained on others.

    A method is given `TransferData` and answers with a mapping: ``"sample"``, a function of labels (n,) int64
    and a generator on the CPU that gives pictures (n, H, W, 3) uint8; and, if it likes, ``"parameters"``, how
    many numbers it trained, ``"seconds_per_step"`` of its training, and ``"relay"``, a function of a time
    step, labels and a generator: pictures that the tuned network draws down to that step, and the pre-trained
    one from there.

    Every row is asked for the same labels with the same noise, whatever its seed. A sampler whose network has
    diverged gives an array of NaN.
    """

    name = "dit_transfer"
    title = "Transfer of a diffusion transformer to eight targets"
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
        Metric(
            name="seconds_per_step", better="lower", unit="s", digits=3, kind="cost", doc="of training",
        ),
    )  # fmt: skip
    reference = "full"
    claim = "24.6 % lower FID than full fine-tuning, averaged over its eight targets (abstract; 26 % in v1)"
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
        """One a target.

        Raises:
            BenchError: an unknown target.
        """
        known = _known()
        for target in grid.targets:
            if target not in known:
                near = get_close_matches(target, known, 1, 0)[0]
                raise BenchError(
                    f"dit_transfer: grid.targets: {target!r} is none of {', '.join(known)}; nearest: {near!r}"
                )
        return [Task(name=t, params={"target": t}) for t in grid.targets]

    def stages(self, task: Task, run: settings.Run) -> Sequence[Stage]:
        """The target's pictures, drawn or encoded, and the features of the real ones."""
        target = task.params["target"]
        reads = source_of(target).data_stages(target, run)
        data = self.fingerprint(task, run) if self.missing(task, run) is None else None
        return (*reads, stages.features(task, run, reads, data, source_of(target).NEEDS))

    def missing(self, task: Task, run: settings.Run) -> str | None:
        """Which package has to be installed or which file brought, or None."""
        return source_of(task.params["target"]).missing(task.params["target"], run)

    def fingerprint(self, task: Task, run: settings.Run) -> str:
        """Digest of the pictures' sources and of the pre-trained weights."""
        return source_of(task.params["target"]).fingerprint(task.params["target"], run)

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> TransferData:
        """Training pictures of the target, and the pre-trained network; nothing that is held out."""
        from bench.tracks.dit_transfer.data import TransferData

        target = task.params["target"]
        parts = source_of(target).parts(target, run, inputs)
        return TransferData(
            target=target, classes=parts.classes, x=parts.x, y=parts.y, recipe=settings.recipe(target, run),
            pretrained=parts.pretrained, bank=parts.bank, decode=parts.decode,
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Kept:
        """Features of the held-out pictures, and the labels that are asked for."""
        import numpy as np

        from bench.tracks.dit_transfer import scoring
        from bench.tracks.dit_transfer.data import Kept

        target = task.params["target"]
        source, recipe = source_of(target), settings.recipe(target, run)
        parts = source.parts(target, run, inputs)
        with np.load(inputs.stage(stages.FEATURES) / stages.FEATURES_FILE) as found:
            features = dict(found)
        return Kept(
            test=features["test"], train=features["train"], source=features.get("source"),
            labels=scoring.asked(parts.y, len(parts.classes), recipe.samples), recipe=recipe,
            switches=tuple(run.switches), device=inputs.device, inception=features.get("inception"),
            weights=source.inception(run),
        )  # fmt: skip

    def score(self, task: Task, answer: Any, kept: Kept, history: Sequence[Snapshot]) -> Score:
        """Distances of the drawn pictures, and of those of a relay at every switch, if there is one.

        Raises `AnswerError` for a missing or unknown entry, and for pictures of another shape.
        """
        import numpy as np
        import xarray as xr

        from bench.tracks.dit_transfer import scoring

        answer = scoring.checked(answer)
        pictures = scoring.drawn(answer, kept)
        metrics = scoring.scores(pictures, kept)
        metrics |= {k: scoring.number(answer, k) for k in ("parameters", "seconds_per_step")}
        series = {}
        if answer.get("relay") is not None and pictures is not None:
            at = sorted(kept.switches)
            distances = [scoring.scores(scoring.drawn(answer, kept, s), kept)["kid_lite0"] for s in at]
            # At 0 the tuned network draws it all.
            series["kid_lite0"] = xr.DataArray(
                np.array([metrics["kid_lite0"], *distances], float), dims=("switch",),
                coords={"switch": [0, *at]},
            )  # fmt: skip
        views = {} if pictures is None else {"samples": scoring.sheet(pictures)}
        return Score(metrics=metrics, series=series, views=views)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """How every row trains on the target, and how what it learnt is drawn and compared."""
        return asdict(settings.recipe(task.params["target"], run))

    def kind(self, task: Task) -> str:
        """Pictures out of packages for the small network, or photographs for the paper's."""
        return "laptop" if task.params["target"] in settings.LAPTOP else "paper"

    def embedded(self) -> Sequence[Embedded]:
        """The pre-trained network of the laptop's tasks."""
        from bench.tracks.dit_transfer import pretrain
        from bench.tracks.dit_transfer.sources import laptop

        return (pretrain.embedded(laptop.WEIGHTS),)

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """Which network stands in, and what it has seen; what is assumed."""
        if any(t.params["target"] in settings.LAPTOP for t in tasks):
            return {
                "model": "a small diffusion transformer in pixel space, pre-trained in the suite on emoji by"
                " three artists without flags: it has seen what fluent-3d and line-art draw, by other hands"
                " or in colour; drawn without guidance",
                "distance": f"KID-lite0 and FD-lite0 are {_LITE}. They are not KID and FID.",
            }
        return {
            "assumed": "10,000 samples in 50 DDIM steps at guidance 1.5, classes as in training, against the"
            " held-out pictures; a bank of 10,000: the paper's text could not be read"
        }

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """Few flags, two steps."""
        grid = settings.Grid(targets=("flags",))
        return grid, settings.Run(
            steps=2, batch=8, samples=20, chain=2, bank=8, pictures=24, switches=(500,),
        )  # fmt: skip


class _Source(Protocol):
    """A module that reads some targets.

    ``NEEDS``: of the stage that keeps features of real pictures. ``real``: names of `stages.encode` -> those
    pictures, (n, H, W, 3) uint8 a batch.
    """

    NEEDS: Needs

    def missing(self, target: str, run: settings.Run) -> str | None: ...

    def fingerprint(self, target: str, run: settings.Run) -> str: ...

    def data_stages(self, target: str, run: settings.Run) -> Sequence[Stage]: ...

    def bank_stages(self, target: str, run: settings.Run) -> Sequence[Stage]: ...

    def parts(self, target: str, run: settings.Run, inputs: Inputs) -> Parts: ...

    def real(
        self, target: str, run: settings.Run, stage: Callable[[str], Path]
    ) -> Mapping[str, Iterable[np.ndarray]]: ...

    def inception(self, run: settings.Run) -> Path | None: ...


def source_of(target: str) -> _Source:
    """Its module, and no other: each is a source of those cells only that read with it."""
    if target in settings.LAPTOP:
        from bench.tracks.dit_transfer.sources import laptop

        return laptop
    from bench.tracks.dit_transfer.sources import paper

    return paper


def _known() -> list[str]:
    from bench.data.images import class_trees

    return [*settings.LAPTOP, *class_trees.NAMES]


TRACK = DitTransfer()
