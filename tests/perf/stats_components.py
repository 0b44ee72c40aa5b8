"""What rows vary in, estimated from the published records, and boards drawn from it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import stats

RESULTS = Path(__file__).resolve().parents[2] / "results" / "laptop"
RANKS_BY = {
    "embedding_scale": "auc",
    "ood": "accuracy",
    "multi_domain": "average",
    "dit_transfer": "kid_lite0",
}
ABLATIONS = {
    "embedding_scale": r"(multi|single)-.*",
    "ood": "clipood/.*",
    "multi_domain": "d-train/no-.*",
    "dit_transfer": ".*/(looks|no-.*|power-.*|sequential)|distillation|min-snr|p2",
}


def data_set(track, task):
    """Which tasks are measured on the same data."""
    if track == "ood":
        return task.split("-", 1)[1]
    if track == "multi_domain":
        return re.sub(r"digits.*", "digits", task)
    return re.sub(r"-\d+x$", "", task)


@dataclass
class Records:
    """Rows of one track on C data sets: ``values`` row -> data set -> value of each seed, over its tasks."""

    track: str
    weights: dict[str, float]
    values: dict[str, dict[str, list[float]]]

    @property
    def rows(self):
        return [
            stats.row_mean(v, self.weights, exact=all(len(x) == 1 for x in v.values()))
            for v in self.values.values()
        ]

    def components(self):
        """Weights (C,), seed sd (k, C), row means (k,), and row × data set interaction (k, C), weighted sum 0."""
        sets, w = list(self.weights), np.array(list(self.weights.values()))
        sd = np.array(
            [[np.std(v[c], ddof=1) if len(v[c]) > 1 else 0.0 for c in sets] for v in self.values.values()]
        )
        m = np.array([[np.mean(v[c]) for c in sets] for v in self.values.values()])
        apart = m - (m @ w)[:, None]
        return w, sd, m @ w, apart - apart.mean(0)


def published(track):
    """The rows that have every task and are no ablations."""
    found = defaultdict(lambda: defaultdict(dict))
    for line in (RESULTS / f"{track}.jsonl").read_text().splitlines():
        r = json.loads(line)
        if r["kind"] == "cell" and r["status"] == "ok":
            c = r["cell"]
            found[c["row"]][c["task"]][c["seed"]] = r["metrics"][RANKS_BY[track]]
    for row, by_task in found.items():  # at the base size multi-embedding is the single one, by construction
        if row.startswith("multi/"):
            single = found[row.replace("multi/", "single/")]
            by_task.update({t: seeds for t, seeds in single.items() if t.endswith("-1x")})
    tasks = {t for row in found.values() for t in row}
    rows = {r: v for r, v in found.items() if v.keys() == tasks and not re.fullmatch(ABLATIONS[track], r)}
    weights, values = defaultdict(float), {}
    for t in sorted(tasks):
        weights[data_set(track, t)] += 1 / len(tasks)
    for row, by_task in rows.items():
        values[row] = {}
        for c in weights:
            every = [s for t, s in by_task.items() if data_set(track, t) == c]
            shared = sorted(set.intersection(*(set(s) for s in every)))
            values[row][c] = [float(np.mean([s[k] for s in every])) for k in shared]
    return Records(track, dict(weights), values)


def noise(rng, rows, sets, seeds, shared):
    """Standard normal effects of seeds, (rows, sets, seeds): correlated over rows (.3, the most in the records),
    and over data sets (.2, likewise) where all data sets share a stream.
    """
    own = rng.normal(size=(rows, sets, seeds))
    common = rng.normal(size=(1, sets, seeds))
    if shared:
        stream = rng.normal(size=(rows, 1, seeds))
        return np.sqrt(0.5) * own + np.sqrt(0.3) * common + np.sqrt(0.2) * stream
    return np.sqrt(0.7) * own + np.sqrt(0.3) * common


def row_means(x, weights, exact):
    """The rows of one board, x (rows, sets, seeds), as `bench.stats.row_mean` makes them, in one go."""
    seeds = x.shape[2]
    mean, var = x.mean(2) @ weights, np.square(weights) * x.var(axis=2, ddof=1) / seeds
    return [
        stats.RowMean(m, () if e else tuple(stats.Source(s, seeds - 1) for s in v), None, True)
        for m, v, e in zip(mean.tolist(), var.tolist(), exact, strict=True)
    ]
