"""The track `multi_domain`: several domains with the same labels, trained at once, each tested on its own.

Paper: Wang et al., Decoupled Training: Return of Frustratingly Easy Multi-Domain Learning (AAAI 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Claim, Inputs, Metric, Score, Snapshot, Task
from bench.tracks.common.names import check_names
from bench.tracks.common.sources import Source, SourcedTrack
from bench.tracks.multi_domain import settings
from bench.tracks.multi_domain.sources.by_name import source_of

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import MultiDomainData, Splits, Truth
    from bench.tracks.multi_domain.nets.bodies import Body

_ASSUMED = (
    "of D-Train's set-up the three phases, the data sets and the two scores could be read; networks, steps,"
    " rates, splits and the rule that divides the steps among the phases are this suite's"
)
_AMAZON = (
    "a proxy: the rules of thuml/Multi-Embedding's loader (authors in common), on domains chosen here; every"
    " rating counts as positive, with a negative item drawn at random"
)


#: Data sets that have the pictures of another one, and its test examples: one observation of the statistics,
#: with one stream of random numbers. They differ in training examples, or in what labels mean.
_SAME_PICTURES = {"digits-unequal": "digits", "digits-conflict": "digits"}


class MultiDomain(SourcedTrack):
    """Classes of images, or a binary label of table rows, from several domains known for every row.

    A method is given `MultiDomainData` and answers with a mapping: ``"val"`` and ``"test"``, probabilities
    for the rows of ``data.val`` and ``data.test``, (n, classes) for images, of label 1 (n,) for tables; and,
    if it likes, ``"parameters"``, how many numbers answering takes for all domains together.

    A domain's score is its class-balanced accuracy (images) or its AUC (tables). Units are pictures, and of a
    table clusters of its rows; see `scoring.units`.
    """

    name = "multi_domain"
    title = "Multi-domain learning: images and recommenders"
    version = 2
    metrics = (
        Metric(name="average", better="higher", digits=3, doc="mean over domains of the domain's score"),
        Metric(name="worst", better="higher", digits=3, doc="score of the worst domain"),
        Metric(
            name="parameters", better="lower", digits=0, kind="cost",
            doc="numbers that answering takes, all domains together",
        ),
    )  # fmt: skip
    reference = "separate"
    # All tasks on digits have the same test pictures: they are one observation.
    axis = "dataset"
    # Which figure the paper printed for any of them could not be found.
    claims = (
        Claim(name="D-Train over separate networks", rows=("d-train",), over=("separate",)),
        Claim(name="D-Train over joint training", rows=("d-train",), over=("joint",)),
        Claim(
            name="D-Train over a shared bottom where labels contradict each other", rows=("d-train",),
            over=("shared-bottom",), tasks=("digits-conflict",),
        ),
    )  # fmt: skip
    Grid = settings.Grid
    Run = settings.Run
    by_value = ("RECIPES", "Recipe")
    preload = (
        "numpy", "orjson", "pandas", "PIL.Image", "PIL.ImageDraw", "PIL.ImageFont", "resvg_py",
        "safetensors.torch", "sklearn.metrics", "timm", "torch", "torchvision.transforms.v2", "xarray",
    )  # fmt: skip

    def tasks(self, grid: settings.Grid) -> Sequence[Task]:
        """One task for each data set; pictures and tables are two groups.

        Raises:
            BenchError: a data set is unknown.
        """
        if own := [d for d in grid.datasets if d not in settings.RECIPES]:
            from bench.tracks.multi_domain.sources import brought

            check_names("multi_domain: grid.datasets", own, (*settings.RECIPES, *brought.names()))
        return [brought.task(d) if d in own else _task(d) for d in grid.datasets]

    def source(self, task: Task) -> Source[Splits]:
        """The module that opens the task's data set."""
        return source_of(task.params["dataset"])

    def load(self, task: Task, run: settings.Run, inputs: Inputs) -> MultiDomainData:
        """The examples of all splits, without the test labels; about a second."""
        from bench.tracks.multi_domain.data import MultiDomainData, Unlabelled

        dataset = task.params["dataset"]
        splits = self.source(task).splits(task, run, inputs).shuffled_test()
        recipe = settings.recipe(dataset, run)
        test = Unlabelled(splits.inputs(splits.test), splits.domain[splits.test].astype("int64"))
        return MultiDomainData(
            dataset=dataset, kind=splits.kind, domains=splits.domains, classes=splits.classes,
            train=splits.labelled(splits.train), val=splits.labelled(splits.val), test=test,
            recipe=recipe, body=_body(splits, recipe),
        )  # fmt: skip

    def truth(self, task: Task, run: settings.Run, inputs: Inputs) -> Truth:
        """The labels of validation and test, read anew so that no method shares memory with them.

        Raises:
            BenchError: a domain of a table has rows of one label only, so that no AUC is defined.
        """
        from bench.tracks.multi_domain.data import Truth

        splits = self.source(task).splits(task, run, inputs).shuffled_test()
        val, test = splits.val, splits.test
        for name, rows in (("validation", val), ("test", test)):
            for d, domain in enumerate(splits.domains):
                found = set(splits.y[rows[splits.domain[rows] == d]].tolist())
                if not found or (splits.kind == "table" and len(found) < 2):
                    raise BenchError(
                        f"multi_domain: {task.name}: {name} of domain {domain!r} has only the labels"
                        f" {sorted(found)}, so it has no score: raise run.rows"
                    )
        return Truth(
            kind=splits.kind, domains=splits.domains, classes=splits.classes,
            val_y=splits.y[val], val_domain=splits.domain[val], test_y=splits.y[test],
            test_domain=splits.domain[test], test_ids=None if splits.ids is None else splits.ids[test],
            test_groups=None if splits.groups is None else splits.groups[test],
        )  # fmt: skip

    def score(self, task: Task, answer: Any, truth: Truth, history: Sequence[Snapshot]) -> Score:
        """Average and worst over the domains, on test and validation; each domain's own as a series.

        Probabilities that are not finite give NaN.

        Raises:
            AnswerError: an entry is missing or unknown, has another shape than expected, or holds a number
                that is no probability.
        """
        import xarray as xr

        from bench.tracks.common.answers import Answer
        from bench.tracks.multi_domain import scoring

        required = {s: f"probabilities for the examples of data.{s}" for s in ("val", "test")}
        answer = Answer("multi_domain", answer, required=required, optional=("parameters",))
        p = {split: scoring.probabilities(answer, split, truth) for split in ("test", "val")}
        test, val = (scoring.by_domain(truth, split, p[split]) for split in ("test", "val"))
        metrics = {
            "average": float(test.mean()), "worst": float(test.min()),
            "val_average": float(val.mean()), "val_worst": float(val.min()),
            "parameters": answer.number("parameters"),
        }  # fmt: skip
        series = {"average": xr.DataArray(test, dims=("domain",), coords={"domain": list(truth.domains)})}
        units = scoring.units(truth, p["test"])
        return Score(metrics=metrics, series=series, units={} if units is None else {"average": units})

    def recipe(self, task: Task, run: settings.Run) -> Mapping[str, Any]:
        """What the task's data set is trained with."""
        return asdict(settings.recipe(task.params["dataset"], run))

    def kind(self, task: Task) -> str:
        """Tasks on one data set are of one kind, all tasks of digits too."""
        return task.data

    def notes(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """What is assumed about the paper, and what the data of these tasks are not."""
        datasets = {t.params["dataset"] for t in tasks}
        found = {"assumed": _ASSUMED, "score": "class-balanced accuracy of images, AUC of tables"}
        if "digits-conflict" in datasets:
            found["digits-conflict"] = (
                "real digits with permuted labels: in each domain three classes, others than elsewhere, are"
                " exchanged in a cycle, so that one input means two things; training sizes as digits-unequal"
            )
        if "flights" in datasets:
            found["flights"] = "no recommender's log: a binary label on categorical fields, split by time"
        if "amazon" in datasets:
            found["amazon"] = _AMAZON
        return found

    def smoke(self) -> tuple[settings.Grid, settings.Run]:
        """One task with a few digits of every domain, trained for six steps."""
        return settings.Grid(datasets=("digits",)), settings.Run(steps=6, batch=24, rows=40)


def _task(dataset: str) -> Task:
    data = _SAME_PICTURES.get(dataset, dataset)
    group = "tables" if settings.RECIPES[dataset].network == "fields" else "pictures"
    return Task(name=dataset, params={"dataset": dataset, "of": data}, data=data, group=group)


def _body(splits: Splits, recipe: settings.Recipe) -> Callable[[], Body]:
    """A function that makes a fresh network, the one that the recipe names, for these data."""
    from bench.tracks.multi_domain.nets import bodies

    width = recipe.hidden[-1]
    match recipe.network:
        case "fields":
            return partial(
                bodies.table, splits.cardinalities, dim=recipe.dim, hidden=recipe.hidden, tower=recipe.tower
            )
        case "cnn":
            return partial(bodies.digits, splits.classes, width=width)
        case "lite0":
            return partial(bodies.lite0, splits.classes, width=width, frozen=recipe.frozen)
        case "resnet50" | "resnet101":
            assert splits.weights is not None
            return partial(bodies.resnet, recipe.network, splits.weights, splits.classes, width=width)


TRACK = MultiDomain()
