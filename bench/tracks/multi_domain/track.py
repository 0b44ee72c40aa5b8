"""The track `multi_domain`: several domains with the same labels, trained at once, each tested on its own.

Paper: Wang et al., Decoupled Training: Return of Frustratingly Easy Multi-Domain Learning (AAAI 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bench.contract import BenchError, Inputs, Metric, Score, Snapshot, Stage, Task, Track, Units
from bench.tracks.multi_domain import settings

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import Kept, MultiDomainData, Parts
    from bench.tracks.multi_domain.nets.bodies import Body

#: Data sets of images, scored by class-balanced accuracy; the others are tables, scored by AUC.
_PHOTOS = ("office-home", "domain-net", "fmow")
_ASSUMED = (
    "of D-Train's set-up the three phases, the data sets and the two scores could be read; networks, steps,"
    " rates, splits and the rule that divides the steps among the phases are this suite's"
)
_AMAZON = (
    "a proxy: the rules of thuml/Multi-Embedding's loader (authors in common), on domains chosen here; every"
    " rating counts as positive, with a negative item drawn at random"
)


class MultiDomain(Track):
    """Classes of images, or a binary label of table rows, from several domains known for every row.

    A method is given `MultiDomainData` and answers with a mapping: ``"val"`` and ``"test"``, probabilities
    for the rows of ``data.val`` and ``data.test``, (n, classes) for images, of label 1 (n,) for tables; and,
    if it likes, ``"parameters"``, how many numbers answering takes for all domains together.

    A domain's score is its class-balanced accuracy (images) or its AUC (tables). AUC is no mean over rows, so
    tables keep no units, and their rows are compared over seeds.
    """

    name = "multi_domain"
    title = "Multi-domain learning: images and recommenders"
    metrics = (
        Metric(name="average", better="higher", digits=3, doc="mean over domains of the domain's score"),
        Metric(name="worst", better="higher", digits=3, doc="score of the worst domain"),
        Metric(
            name="parameters", better="lower", digits=0, kind="cost",
            doc="numbers that answering takes, all domains together",
        ),
    )  # fmt: skip
    reference = "separate"
    # Digits of unequal domains have the test sets of the equal ones: both are one observation.
    axis = "dataset"
    Grid = settings.Grid
    Run = settings.Run
    by_value = ("RECIPES", "Recipe")
    preload = (
        "numpy", "orjson", "pandas", "PIL.Image", "PIL.ImageDraw", "PIL.ImageFont", "resvg_py",
        "safetensors.torch", "sklearn.metrics", "timm", "torch", "torchvision.transforms.v2", "xarray",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """One a data set.

        Raises:
            BenchError: an unknown data set.
        """
        known = sorted(settings.RECIPES)
        for dataset in grid.datasets:
            if dataset not in known:
                near = get_close_matches(dataset, known, 1, 0)[0]
                raise BenchError(
                    f"multi_domain: grid.datasets: {dataset!r} is none of {', '.join(known)};"
                    f" nearest: {near!r}"
                )
        return [Task(name=d, params={"dataset": d, "of": d.removesuffix("-unequal")}) for d in grid.datasets]

    def stages(self, task: Task, run: settings.Run) -> Sequence[Stage]:
        """What has to be drawn before the pictures can be read."""
        return _source(task).stages(task.params["dataset"])

    def missing(self, task: Task, run: settings.Run) -> str | None:
        """Which package has to be installed or which file brought, or None."""
        return _source(task).missing(task.params["dataset"], run)

    def fingerprint(self, task: Task, run: settings.Run) -> str:
        """Digest of the data's source files, or of their list."""
        return _source(task).fingerprint(task.params["dataset"], run)

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> MultiDomainData:
        """The rows, split, without the test labels; about a second."""
        from bench.tracks.multi_domain.data import MultiDomainData, Unlabelled

        dataset = task.params["dataset"]
        parts, recipe = _source(task).parts(dataset, run, inputs), settings.recipe(dataset, run)
        domain = parts.domain[parts.test].astype("int64")
        return MultiDomainData(
            dataset=dataset, kind=parts.kind, domains=parts.domains, classes=parts.classes,
            train=parts.labelled(parts.train), val=parts.labelled(parts.val),
            test=Unlabelled(parts.inputs(parts.test), domain),
            recipe=recipe, body=_body(parts, recipe),
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Kept:
        """The labels of validation and test, read anew so that no method shares memory with them.

        Raises:
            BenchError: a domain of a table has rows of one label only, so that no AUC is defined.
        """
        from bench.tracks.multi_domain.data import Kept

        parts = _source(task).parts(task.params["dataset"], run, inputs)
        val, test = parts.val, parts.test
        for name, rows in (("validation", val), ("test", test)):
            for d, domain in enumerate(parts.domains):
                found = set(parts.y[rows[parts.domain[rows] == d]].tolist())
                if not found or (parts.kind == "table" and len(found) < 2):
                    raise BenchError(
                        f"multi_domain: {task.name}: {name} of domain {domain!r} has only the labels"
                        f" {sorted(found)}, so it has no score: raise run.rows"
                    )
        return Kept(
            kind=parts.kind, domains=parts.domains, classes=parts.classes,
            val_y=parts.y[val], val_domain=parts.domain[val], test_y=parts.y[test],
            test_domain=parts.domain[test], test_ids=None if parts.ids is None else parts.ids[test],
            test_groups=None if parts.groups is None else parts.groups[test],
        )  # fmt: skip

    def score(self, task: Task, answer: Any, kept: Kept, history: Sequence[Snapshot]) -> Score:
        """Average and worst over the domains, on test and validation; each domain's own as a series.

        Probabilities that are not finite give NaN. Raises `AnswerError` for a missing or unknown entry, a
        wrong shape, a number that is no probability.
        """
        import xarray as xr

        from bench.tracks.multi_domain import scoring
        from bench.tracks.multi_domain.metrics import weights

        answer = scoring.checked(answer)
        p = {part: scoring.probabilities(answer, part, kept) for part in ("test", "val")}
        test, val = (scoring.by_domain(kept, part, p[part]) for part in ("test", "val"))
        metrics = {
            "average": float(test.mean()), "worst": float(test.min()),
            "val_average": float(val.mean()), "val_worst": float(val.min()),
            "parameters": scoring.parameters(answer),
        }  # fmt: skip
        series = {"average": xr.DataArray(test, dims=("domain",), coords={"domain": list(kept.domains)})}
        units = {}
        if kept.test_ids is not None:
            each = scoring.correct(p["test"], kept.test_y) * weights(kept.test_y, kept.test_domain)
            units = {"average": Units(kept.test_ids, each, kept.test_groups)}
        return Score(metrics=metrics, series=series, units=units)

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """What the task's data set is trained with."""
        return asdict(settings.recipe(task.params["dataset"], run))

    def kind(self, task: Task) -> str:
        """A data set; both of digits are one."""
        return str(task.params["dataset"].partition("-unequal")[0])

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """What is assumed, and what a task's data are not."""
        datasets = {t.params["dataset"] for t in tasks}
        found = {"assumed": _ASSUMED, "score": "class-balanced accuracy of images, AUC of tables"}
        if "flights" in datasets:
            found["flights"] = "no recommender's log: a binary label on categorical fields, split by time"
        if "amazon" in datasets:
            found["amazon"] = _AMAZON
        return found

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """Few digits of every domain, six steps."""
        return settings.Grid(datasets=("digits",)), settings.Run(steps=6, batch=24, rows=40)


class _Source(Protocol):
    """A module that reads some data sets."""

    def stages(self, dataset: str) -> Sequence[Stage]: ...

    def missing(self, dataset: str, run: settings.Run) -> str | None: ...

    def fingerprint(self, dataset: str, run: settings.Run) -> str: ...

    def parts(self, dataset: str, run: settings.Run, inputs: Inputs) -> Parts: ...


def _source(task: Task) -> _Source:
    """Its module, and no other: each is a source of those cells only that read with it."""
    dataset = task.params["dataset"]
    if dataset == "emoji":
        from bench.tracks.multi_domain.sources import emoji as emoji_task

        return emoji_task
    if dataset.startswith("digits"):
        from bench.tracks.multi_domain.sources import digits as digits_task

        return digits_task
    if dataset in _PHOTOS:
        from bench.tracks.multi_domain.sources import photos as photo_task

        return photo_task
    if dataset == "amazon":
        from bench.tracks.multi_domain.sources import ratings as ratings_task

        return ratings_task
    from bench.tracks.multi_domain.sources import tables as table_task

    return table_task


def _body(parts: Parts, recipe: settings.Recipe) -> Callable[[], Body]:
    """What makes the recipe's network for these data."""
    from bench.tracks.multi_domain.nets import bodies

    width = recipe.hidden[-1]
    match recipe.network:
        case "fields":
            return partial(
                bodies.table, parts.cardinalities, dim=recipe.dim, hidden=recipe.hidden, tower=recipe.tower
            )
        case "cnn":
            return partial(bodies.digits, parts.classes, width=width)
        case "lite0":
            return partial(bodies.lite0, parts.classes, width=width, frozen=recipe.frozen)
        case "resnet50" | "resnet101":
            assert parts.weights is not None
            return partial(bodies.resnet, recipe.network, parts.weights, parts.classes, width=width)


TRACK = MultiDomain()
