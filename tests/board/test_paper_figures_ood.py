"""The published numbers of the track ``ood``: they agree with one another, and name data sets we know."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from bench.board.paper_figures import read_paper_figures
from bench.data.images import coop, image_folders

NUMBERS = read_paper_figures(Path(__file__).resolve().parents[2] / "results" / "published" / "ood.csv")
DOMAINS = {
    f"wild-{name}-{domain.lower().replace(' ', '-')}"
    for name in ("office-home", "domain-net")
    for domain in image_folders.domains(name)
}


def values(prefix):
    found = defaultdict(dict)
    for p in NUMBERS:
        if p.task.startswith(prefix):
            found[p.row, p.task][p.metric] = p.value
    return found


def test_tasks_are_data_sets_and_domains_of_ours():
    known = {*image_folders.LAYOUTS, *coop.LAYOUTS, *DOMAINS, *(f"open-{n}" for n in coop.OPEN_CLASS)}
    assert {p.task for p in NUMBERS} == known - set(coop.OPEN_CLASS) | {"imagenet"}


def test_every_number_is_a_fraction_with_its_source_and_a_mean_says_that_it_is_one():
    for p in NUMBERS:
        assert 0 < p.value < 1
        assert p.digits in (3, 4)
        assert ("mean over target domains" in p.difference) == (p.task in image_folders.LAYOUTS)


def test_harmonic_means_are_those_of_base_and_new():
    table = values("open-")
    assert len(table) == 5 * 11
    for (row, task), v in table.items():
        h = 2 * v["base"] * v["new"] / (v["base"] + v["new"])
        assert h == pytest.approx(v["harmonic"], abs=6e-4), (row, task)


@pytest.mark.parametrize(
    ("row", "base", "new"),
    [("zero-shot", 69.34, 74.22), ("coop", 82.69, 63.22), ("cocoop", 80.47, 71.69), ("maple", 82.28, 75.14),
     ("clipood", 83.9, 74.5)],
)  # fmt: skip
def test_the_printed_averages_come_out(row, base, new):
    table = [v for (r, _), v in values("open-").items() if r == row]
    for metric, printed in (("base", base), ("new", new)):
        mean = 100 * sum(v[metric] for v in table) / len(table)
        assert mean == pytest.approx(printed, abs=0.06 if row == "clipood" else 0.011)


def test_the_printed_averages_in_the_wild_come_out():
    printed = {"base": 72.6, "new": 67.4, "total": 69.8}
    table = {task: v for (row, task), v in values("wild-").items() if row == "zero-shot"}
    assert set(table) == DOMAINS
    for metric, told in printed.items():
        means = []
        for name in ("office-home", "domain-net"):
            own = [v[metric] for task, v in table.items() if task.startswith(f"wild-{name}")]
            means.append(sum(own) / len(own))
        assert 100 * sum(means) / 2 == pytest.approx(told, abs=0.06)
