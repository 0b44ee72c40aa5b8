"""The track `ood`: a vision-language model fine-tuned so that it holds on new domains and new classes.

Paper: Shu et al., CLIPood: Generalizing CLIP to Out-of-Distributions (ICML 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.contract import (
    BenchError,
    Claim,
    Embedded,
    Inputs,
    Metric,
    PaperEffect,
    Score,
    Snapshot,
    Task,
    Units,
)
from bench.tracks.common.costs import SECONDS_PER_STEP
from bench.tracks.common.names import check_names
from bench.tracks.common.sources import SourcedTrack
from bench.tracks.ood import settings
from bench.tracks.ood.sources.by_name import OodSource, source_of

if TYPE_CHECKING:
    from bench.tracks.ood.data import OodData, Truth

_COSTS = ("parameters", "seconds_per_step")
_SETTINGS: tuple[settings.Setting, ...] = ("shift", "open", "wild", "variant")


class Ood(SourcedTrack):
    """Classification of pictures from a domain, or of classes, that training has not seen.

    A method is given `OodData` and answers with a mapping: ``"predict"``, a function of pictures (n, S, S, 3)
    uint8 and a tuple of C class names that gives logits (n, C), a numpy array; and, if it likes,
    ``"parameters"``, how many numbers it trained, ``"seconds_per_step"`` of its training, and ``"average"``,
    (T + 1,) shares of the weights before training and after each of T steps if it answers with an average of
    them. It is called with the names of all classes, or of some, in an order of the scorer's.

    The ranked accuracy is over a target's pictures. ``shift``, ``variant``: among the names of all its
    classes. ``open``: pictures of base classes among base names, of new ones among new names. ``wild``: all
    among all names, the total.
    """

    name = "ood"
    version = 2
    title = "Out of distribution: domain shift, open class, in the wild"
    metrics = (
        Metric(name="accuracy", better="higher", digits=3, doc="share of the target's pictures named right"),
        Metric(name="balanced", better="higher", digits=3, doc="accuracy, mean over classes"),
        Metric(name="base", better="higher", digits=3, doc="accuracy on classes seen in training"),
        Metric(name="new", better="higher", digits=3, doc="accuracy on classes not seen in training"),
        Metric(name="harmonic", better="higher", digits=3, doc="harmonic mean of base and new"),
        Metric(
            name="calibration_error", better="lower", digits=3, kind="diagnostic",
            doc="expected calibration error of the chosen class, 15 bins",
        ),
        Metric(name="parameters", better="lower", digits=0, kind="cost", doc="trained numbers"),
        SECONDS_PER_STEP,
    )  # fmt: skip
    reference = "fine-tune"
    Grid = settings.Grid
    Run = settings.Run
    # Of emoji: the seed says which families are trained on and which tested. The papers' splits are fixed, so
    # there a deterministic row is run once a seed without need.
    split_per_seed = True
    by_value = ("RECIPES", "Recipe")
    preload = (
        "numpy", "open_clip", "orjson", "resvg_py", "safetensors.torch", "sklearn.linear_model", "timm",
        "torch", "torchvision.transforms.v2", "transformers", "transformers.models.bert.modeling_bert",
        "xarray",
    )  # fmt: skip
    claims = (
        Claim(
            name="CLIPood is better than fine-tuning",
            rows=("clipood",),
            over=("fine-tune",),
            paper=PaperEffect(
                value=0.019,
                text="78.6 against 76.7 % of ERM, averages of domain shift over five data sets",
                source="DISAM (ICLR 2024), which prints both beside its own",
            ),
        ),
        Claim(name="CLIPood is better than WiSE-FT", rows=("clipood",), over=("wise-ft",), of_paper=False),
    )

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """``shift-noto``, ``open-noto``, ``wild-noto``, … : for every setting and data set its targets.

        Raises:
            BenchError: a data set that the setting does not have.
        """
        found: list[Task] = []
        for setting in _SETTINGS:
            datasets = getattr(grid, setting)
            ours = [d for s, d in settings.RECIPES if s == setting]
            if own := [d for d in datasets if d not in ours]:
                from bench.tracks.ood.sources import brought

                check_names(f"ood: grid.{setting}", own, (*ours, *brought.names(setting)))
            for dataset in datasets:
                of = brought.tasks if dataset in own else source_of(dataset).tasks
                found += of(setting, dataset)
        if not found and grid.targets:
            raise BenchError("ood: grid.targets: no setting has a data set, so there is no target")
        check_names("ood: grid.targets", grid.targets, {t.params["target"] for t in found})
        return [t for t in found if not grid.targets or t.params["target"] in grid.targets]

    def source(self, task: Task) -> OodSource:
        """The module that opens the task's data set."""
        return source_of(task.params["dataset"])

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> OodData:
        """The pictures of the source domains with labels, and the encoder; nothing of the target."""
        from bench.tracks.ood.data import OodData

        dataset, setting = task.params["dataset"], task.params["setting"]
        source = self.source(task)
        splits = source.splits(task, run, inputs)
        return OodData(
            setting=setting, dataset=dataset, recipe=settings.recipe(setting, dataset, run),
            classes=splits.names[: splits.base], domains=splits.domains, template=splits.template,
            train=splits.train, val=splits.val, encoder=partial(source.encoder, run),
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """The targets' pictures with labels, and the labels of validation; nothing that a method holds."""
        from bench.tracks.ood.data import Truth

        splits = self.source(task).splits(task, run, inputs)
        return Truth(
            setting=task.params["setting"], names=splits.names, base=splits.base, val=splits.val,
            targets=splits.targets, redistributable=splits.redistributable,
        )  # fmt: skip

    def score(self, task: Task, answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
        """Accuracy on the target, on validation, and beside it on the further targets.

        Logits that are not finite give NaN.

        Raises:
            AnswerError: an entry is missing or unknown, or logits have another shape than expected.
        """
        import numpy as np
        import xarray as xr

        from bench.tracks.common.answers import Answer
        from bench.tracks.common.metrics import balanced_accuracy
        from bench.tracks.ood import metrics as m
        from bench.tracks.ood import scoring

        of = "pictures and class names"
        answer = Answer(
            "ood", answer, required={"predict": f"a function of {of}"}, optional=("average", *_COSTS)
        )
        predict = answer.function("predict", of)
        average = scoring.shares(answer)
        val = scoring.evaluate_validation(predict, truth)
        outcomes = [scoring.evaluate_target(predict, truth, t) for t in truth.targets]
        main, pictures = outcomes[0], truth.targets[0].labelled
        y = pictures.y
        metrics: dict[str, float | None] = {key: answer.number(key) for key in _COSTS}
        metrics |= {
            "accuracy": main.mean(),
            "balanced": balanced_accuracy(main.correct, y) if main.finite else float("nan"),
            "calibration_error": m.calibration_error(main.confidence, main.correct) if main.finite else None,
            "val_accuracy": val.mean(),
            "val_balanced": balanced_accuracy(val.correct, truth.val.y) if val.finite else float("nan"),
            "base": None, "new": None, "harmonic": None,
        }  # fmt: skip
        if truth.base < len(truth.names):
            base, new = main.mean(y < truth.base), main.mean(y >= truth.base)
            metrics |= {"base": base, "new": new, "harmonic": m.harmonic(base, new)}
        by_target = xr.DataArray(
            np.array([o.mean() for o in outcomes]), dims=("target",),
            coords={"target": [t.name for t in truth.targets]},
        )  # fmt: skip
        series = {"accuracy": by_target} | ({} if average is None else {"average": average})
        units, views = {}, {}
        if main.finite:
            units["accuracy"] = Units(pictures.ids, main.correct, pictures.groups)
            if truth.redistributable:
                views["accuracy"] = scoring.contact_sheet(pictures.inputs)
        return Score(metrics=metrics, series=series, units=units, views=views)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """How the task's data set is trained with."""
        return asdict(settings.recipe(task.params["setting"], task.params["dataset"], run))

    def kind(self, task: Task) -> str:
        """Tasks of one setting on one data set are of one kind, whatever their target."""
        return f"{task.params['setting']}-{task.params['dataset']}"

    def embedded(self) -> Sequence[Embedded]:
        """The dual encoder of the laptop's tasks."""
        from bench.tracks.ood.pretraining import stage
        from bench.tracks.ood.sources.emoji import WEIGHTS

        return (stage.embedded(WEIGHTS),)

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """Which model stands in for CLIP and what it has seen; what of the splits changes with the seed."""
        from bench.tracks.ood.pretraining.stage import SEEN
        from bench.tracks.ood.sources.emoji_split import FOLDS

        found = {}
        ours = [t for t in tasks if not t.brought]
        if len(ours) < len(tasks):
            found["own pictures"] = (
                "the laptop's model has seen emoji alone: on other pictures its numbers say little."
            )
        here = [t.params["dataset"] in settings.LAPTOP for t in ours]
        if any(here):
            found["model"] = f"CLIP-style, trained in the suite, not CLIP. It has seen: {'; '.join(SEEN)}."
            found["splits"] = (
                f"The emoji lie in {FOLDS} folds of whole families: seed k is tested on fold k, validated on"
                " the next one and trained on the rest. The base classes, the families of the model's own"
                " training and the stamps are the same at every seed. What several artists drew of one emoji"
                " is of one family: on two targets its differences between rows correlate by about .1."
            )
        if any(not h for h in here):
            photos = "Of the papers' data sets the splits are fixed: the seed does not change them."
            found["splits"] = " ".join(filter(None, (found.get("splits"), photos)))
        return found

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """One task with few pictures of one artist and three steps: domain shift, which every row can do."""
        grid = settings.Grid(open=(), wild=(), targets=("noto",))
        return grid, settings.Run(steps=3, batch=8, images=16)


TRACK = Ood()
