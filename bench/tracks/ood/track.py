"""The track `ood`: a vision-language model fine-tuned so that it holds on new domains and new classes.

Paper: Shu et al., CLIPood: Generalizing CLIP to Out-of-Distributions (ICML 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bench.contract import (
    AnswerError,
    BenchError,
    Embedded,
    Inputs,
    Metric,
    Score,
    Snapshot,
    Stage,
    Task,
    Track,
    Units,
)
from bench.tracks.ood import settings

if TYPE_CHECKING:
    from bench.tracks.ood.data import Kept, OodData, Parts
    from bench.tracks.ood.nets.clip import DualEncoder

_COSTS = ("parameters", "seconds_per_step")
_KEYS = ("predict", "average", *_COSTS)
_SETTINGS: tuple[settings.Setting, ...] = ("shift", "open", "wild", "variant")


class Ood(Track):
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
        Metric(
            name="seconds_per_step", better="lower", unit="s", digits=3, kind="cost",
            doc="of training, with the reading of its pictures",
        ),
    )  # fmt: skip
    reference = "fine-tune"
    # A target has the same pictures in every setting, so its tasks are one observation.
    axis = "setting"
    Grid = settings.Grid
    Run = settings.Run
    by_value = ("RECIPES", "Recipe")
    preload = (
        "numpy", "open_clip", "orjson", "resvg_py", "safetensors.torch", "sklearn.linear_model", "timm",
        "torch", "torchvision.transforms.v2", "transformers", "xarray",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """``shift-noto``, ``open-noto``, ``wild-noto``, … : for every setting and data set its targets.

        Raises:
            BenchError: a data set that the setting does not have.
        """
        found: list[Task] = []
        for setting in _SETTINGS:
            known = sorted(_datasets(setting))
            for dataset in getattr(grid, setting):
                if dataset not in known:
                    near = get_close_matches(dataset, known, 1, 0)[0]
                    raise BenchError(
                        f"ood: grid.{setting}: {dataset!r} is none of {', '.join(known)}; nearest: {near!r}"
                    )
                found += _source(dataset).tasks(setting, dataset)
        if not found and grid.targets:
            raise BenchError("ood: grid.targets: no setting has a data set, so there is no target")
        if unknown := set(grid.targets) - {t.params["target"] for t in found}:
            targets = sorted({t.params["target"] for t in found})
            near = get_close_matches(min(unknown), targets, 1, 0)[0]
            raise BenchError(
                f"ood: grid.targets: {min(unknown)!r} is none of {', '.join(targets)}; nearest: {near!r}"
            )
        return [t for t in found if not grid.targets or t.params["target"] in grid.targets]

    def stages(self, task: Task, run: settings.Run) -> Sequence[Stage]:
        """What has to be drawn before the pictures can be read."""
        return _source(task.params["dataset"]).stages(task, run)

    def missing(self, task: Task, run: settings.Run) -> str | None:
        """Which package has to be installed or which file brought, or None."""
        return _source(task.params["dataset"]).missing(task, run)

    def fingerprint(self, task: Task, run: settings.Run) -> str:
        """Digest of the pictures, or of their list, and of the encoder's weights."""
        return _source(task.params["dataset"]).fingerprint(task, run)

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> OodData:
        """Source pictures with labels, and the encoder; nothing of the target."""
        from bench.tracks.ood.data import OodData

        dataset, setting = task.params["dataset"], task.params["setting"]
        source = _source(dataset)
        parts = source.parts(task, run, inputs)
        return OodData(
            setting=setting, dataset=dataset, recipe=settings.recipe(setting, dataset, run),
            classes=parts.names[: parts.base], domains=parts.domains, template=parts.template,
            train=parts.train, val=parts.val, encoder=partial(source.encoder, run),
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Kept:
        """The targets' pictures with labels, read anew, and the labels of validation."""
        from bench.tracks.ood.data import Kept

        parts = _source(task.params["dataset"]).parts(task, run, inputs)
        return Kept(
            setting=task.params["setting"], names=parts.names, base=parts.base, val=parts.val,
            targets=parts.targets, free=parts.free,
        )  # fmt: skip

    def score(self, task: Task, answer: Any, kept: Kept, history: Sequence[Snapshot]) -> Score:
        """Accuracy on the target, on validation, and beside it on the further targets.

        Logits that are not finite give NaN. Raises `AnswerError` for a missing or unknown entry, and for
        logits of another shape than asked.
        """
        import numpy as np
        import xarray as xr

        from bench.tracks.ood import metrics as m
        from bench.tracks.ood import scoring

        answer = _checked(answer)
        average = scoring.shares(answer.get("average"))
        on_val = scoring.judged_sources(answer["predict"], kept)
        judged = [scoring.judged_target(answer["predict"], kept, t) for t in kept.targets]
        main, y = judged[0], kept.targets[0].labelled.y
        metrics: dict[str, float | None] = {key: _number(answer, key) for key in _COSTS}
        metrics |= {
            "accuracy": main.mean(),
            "balanced": m.balanced(main.correct, y) if main.finite else float("nan"),
            "calibration_error": m.calibration_error(main.confidence, main.correct) if main.finite else None,
            "val_accuracy": on_val.mean(),
            "val_balanced": m.balanced(on_val.correct, kept.val.y) if on_val.finite else float("nan"),
            "base": None, "new": None, "harmonic": None,
        }  # fmt: skip
        if kept.base < len(kept.names):
            base, new = main.mean(y < kept.base), main.mean(y >= kept.base)
            metrics |= {"base": base, "new": new, "harmonic": m.harmonic(base, new)}
        by_target = xr.DataArray(
            np.array([j.mean() for j in judged]), dims=("target",),
            coords={"target": [t.name for t in kept.targets]},
        )  # fmt: skip
        asked = kept.targets[0].labelled
        units = {"accuracy": Units(asked.ids, main.correct, asked.groups)} if main.finite else {}
        series = {"accuracy": by_target} | ({} if average is None else {"average": average})
        views = {"accuracy": scoring.sheet(asked.pictures)} if kept.free and main.finite else {}
        return Score(metrics=metrics, series=series, units=units, views=views)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """How the task's data set is trained with."""
        return asdict(settings.recipe(task.params["setting"], task.params["dataset"], run))

    def kind(self, task: Task) -> str:
        """A setting on a data set, whatever the target."""
        return f"{task.params['setting']}-{task.params['dataset']}"

    def embedded(self) -> Sequence[Embedded]:
        """The dual encoder of the laptop's tasks."""
        from bench.tracks.ood.pretraining import stage as pretrain
        from bench.tracks.ood.sources import emoji as emoji_tasks

        return (pretrain.embedded(emoji_tasks.WEIGHTS),)

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """For emoji: which model stands in for CLIP, and what it has seen."""
        from bench.tracks.ood.pretraining.stage import SEEN

        if not any(t.params["dataset"] in settings.LAPTOP for t in tasks):
            return {}
        return {"model": f"CLIP-style, trained in the suite, not CLIP. It has seen: {'; '.join(SEEN)}."}

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """Few pictures of one artist's, three steps; domain shift, which every row can do."""
        grid = settings.Grid(open=(), wild=(), targets=("noto",))
        return grid, settings.Run(steps=3, batch=8, images=16)


class _Source(Protocol):
    """A module that makes the tasks of some data sets."""

    def tasks(self, setting: settings.Setting, dataset: str) -> list[Task]: ...

    def stages(self, task: Task, run: settings.Run) -> Sequence[Stage]: ...

    def missing(self, task: Task, run: settings.Run) -> str | None: ...

    def fingerprint(self, task: Task, run: settings.Run) -> str: ...

    def parts(self, task: Task, run: settings.Run, inputs: Inputs) -> Parts: ...

    def encoder(self, run: settings.Run) -> DualEncoder: ...


def _source(dataset: str) -> _Source:
    if dataset in settings.LAPTOP:
        from bench.tracks.ood.sources import emoji as emoji_tasks

        return emoji_tasks
    from bench.tracks.ood.sources import photos as photo_tasks

    return photo_tasks


def _datasets(setting: settings.Setting) -> list[str]:
    return [d for s, d in settings.RECIPES if s == setting]


def _checked(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise AnswerError(
            f"ood: the answer is a {type(answer).__name__}, expected a mapping with a function 'predict'"
        )
    for key in answer:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, 1, 0)[0]
            raise AnswerError(f"ood: answer[{key!r}] is none of {', '.join(_KEYS)}; nearest: {near!r}")
    if not callable(answer.get("predict")):
        raise AnswerError("ood: the answer lacks a function 'predict' of pictures and class names")
    return answer


def _number(answer: Mapping[str, Any], key: str) -> float | None:
    value = answer.get(key)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError) as e:
        raise AnswerError(f"ood: answer[{key!r}] is {value!r}, expected a number or nothing") from e


TRACK = Ood()
