"""A stub of open-vocabulary recognition: ``predict(images, class_names) -> logits``, asked with base, new and
all names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contract import AnswerError, Metric, Score, Task, Track, Units, method

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")


@dataclass(frozen=True)
class Grid:
    shifts: tuple[float, ...] = (0.0, 1.5)


@dataclass(frozen=True)
class Run:
    per_class: int = 20


def embed(name):
    """What the text tower knows of a name, trained on it or not."""
    return np.random.default_rng(list(name.encode())).normal(size=12)


def _images(names, n, shift, seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(names)), n)
    return np.stack([embed(names[k]) for k in labels]) + rng.normal(0, 1.2, (len(labels), 12)) + shift, labels


class Names(Track):
    name = "names"
    title = "A stub of open-vocabulary recognition"
    metrics = (
        Metric(name="harmonic", better="higher", digits=3, doc="harmonic mean of base and new accuracy"),
        Metric(name="base", better="higher", digits=3),
        Metric(name="new", better="higher", digits=3),
        Metric(name="all_names", better="higher", digits=3),
    )
    reference = "zero-shot"
    Grid, Run = Grid, Run
    axis = "shift"

    def tasks(self, grid):
        return [Task(name=f"shift-{s:g}", params={"shift": s}) for s in grid.shifts]

    def load(self, task, run, inputs):
        images, labels = _images(NAMES[:3], run.per_class, 0.0, 1)
        held = _images(NAMES[:3], run.per_class, 0.0, 2)
        return {"images": images, "labels": labels, "names": NAMES[:3], "val": held}

    def truth(self, task, run, inputs):
        return {
            "test": _images(NAMES, run.per_class, task.params["shift"], 3),
            "val": _images(NAMES[:3], run.per_class, 0.0, 2),
        }

    def score(self, task, answer, truth, history):
        images, labels = truth["test"]

        def right(x, y, names):
            logits = np.asarray(answer(x, names))
            if logits.shape != (len(x), len(names)):
                raise AnswerError(f"expected logits {(len(x), len(names))}, found {logits.shape}")
            return logits.argmax(1) == y

        old = labels < 3
        base = right(images[old], labels[old], NAMES[:3])
        new = right(images[~old], labels[~old] - 3, NAMES[3:])
        every = right(images, labels, NAMES)
        val = right(*truth["val"], NAMES[:3]).mean()
        b, n = base.mean(), new.mean()
        metrics = {"harmonic": 2 * b * n / max(b + n, 1e-9), "base": b, "new": n, "all_names": every.mean()}
        units = {"all_names": Units(ids=np.array([f"img-{i}" for i in range(len(every))]), values=every)}
        return Score(metrics={**metrics, "val_base": val}, units=units)

    def smoke(self):
        return Grid(shifts=(0.0,)), Run(per_class=5)


TRACK = Names()


@method("names", name="Zero-shot", deterministic=True)
def zero_shot(data, hp, ctx):
    return lambda images, names: images @ np.stack([embed(n) for n in names]).T


@method("names", name="Tuned", hp={"shots": 10}, counterpart="zero-shot")
def tuned(data, hp, ctx):
    """Text weights moved towards the images of the names that were seen."""
    rng = np.random.default_rng(ctx.seed)
    seen = {}
    for k, name in enumerate(data["names"]):
        rows = rng.choice(np.flatnonzero(data["labels"] == k), hp["shots"])
        seen[name] = data["images"][rows].mean(0)

    def predict(images, names):
        weights = np.stack([0.5 * embed(n) + 0.5 * seen.get(n, embed(n)) for n in names])
        return images @ weights.T

    return predict


@method("names", name="Memorised")
def memorised(data, hp, ctx):
    """A linear classifier that knows only the names it was trained on: broken by construction for others."""
    centres = np.stack([data["images"][data["labels"] == k].mean(0) for k in range(3)])
    return lambda images, names: images @ centres.T
