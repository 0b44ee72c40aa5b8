"""Scores by example, over steps and by name: small records with known answers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sample_board import BoardTrack

from bench.board.inference import examples
from bench.board.model import Board
from bench.board.page.render import render
from bench.board.plots.by_name import by_name
from bench.board.plots.gallery import gallery
from bench.board.plots.steps import over_steps
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.board.text.statistics import families
from bench.contract import SHEET_COLUMNS, BenchError, Metric, Record, Task, Units
from bench.store.artifacts import artifact_name


class Named(BoardTrack):
    name = "named"
    metrics = (Metric(name="accuracy", better="higher", digits=3),)
    reference = "plain"


class Fake:
    """Artifacts in memory."""

    def __init__(self):
        self.of = {}

    def units(self, name):
        return self._get(name)

    def view(self, name):
        return self._get(name)

    def _get(self, name):
        if name not in self.of:
            raise BenchError(f"no artifact {name}")
        return self.of[name]

    def put(self, thing, label):
        self.of[artifact_name(label.encode(), "npz")] = thing
        return artifact_name(label.encode(), "npz")


N = 60
SHEET = np.repeat(np.arange(N, dtype=np.uint8), 4 * 4 * 3).reshape(3, SHEET_COLUMNS, 4, 4, 3)
SHEET = SHEET.transpose(0, 2, 1, 3, 4).reshape(12, SHEET_COLUMNS * 4, 3)


def board(scores, *, groups=None, sheet=True, series=None, history=(), shuffled=()):
    """``scores``: {(row, task): (seeds, N) right or wrong}."""
    artifacts, records, slots = Fake(), {}, []
    ids = np.array([f"e{i:02}" for i in range(N)])
    for (row, task), values in scores.items():
        for seed, v in enumerate(np.atleast_2d(values)):
            key = f"{row}{task}{seed}"
            order = np.random.default_rng(seed).permutation(N) if row in shuffled else np.arange(N)
            units = Units(ids[order], np.asarray(v, float)[order], None if groups is None else groups[order])
            records[key] = Record(
                key=key, kind="cell", cell={}, status="ok", units={"accuracy": artifacts.put(units, key)},
                views={"accuracy": artifacts.put(SHEET, "sheet")} if sheet else {},
                series=(series or {}).get(row, {}), history=history,
            )  # fmt: skip
            slots.append(
                Slot(
                    row=row,
                    task=task,
                    seed=seed,
                    key=key,
                    status="ok",
                    metrics={"accuracy": float(np.mean(v))},
                )
            )
    rows = list(dict.fromkeys(r for r, _ in scores))
    spec = BoardSpec(
        track=Named(), profile="laptop", ranks_by="accuracy",
        tasks=[Task(name=t) for t in dict.fromkeys(t for _, t in scores)],
        rows=[RowInfo(row=r, label=r.title(), role="method" if r == "mine" else "baseline") for r in rows],
    )  # fmt: skip
    return Board(spec, slots, records.get, artifacts)


def right(*wrong):
    v = np.ones(N)
    v[list(wrong)] = 0
    return v


def test_where_every_cell_keeps_scores_tests_speak_of_new_examples():
    rng = np.random.default_rng(1)
    scores = {(r, t): rng.random((3, N)) < p for r, p in (("plain", 0.5), ("mine", 0.7)) for t in ("a", "b")}
    groups = np.array([f"g{k // 3}" for k in range(N)])
    made = board(scores, groups=groups, shuffled={"mine"})
    assert made.ranking.new_examples
    assert "new examples" in {n.label: n.long for n in families(made)}["holds for"]
    (mean,) = made.row_means.together([1], [0, 1])
    by_hand = np.mean([scores["mine", t].mean(0) for t in ("a", "b")], axis=0)
    assert mean.mean == pytest.approx(by_hand.mean())
    assert {name: list(of.names) for name, of in mean.clusters.items()} == dict.fromkeys(
        "ab", sorted({*groups})
    )
    bare = Board(made.spec, made.slots)
    assert made.rows[0].delta.contrast.diff == pytest.approx(bare.rows[0].delta.contrast.diff)
    assert made.rows[0].delta.contrast.se != bare.rows[0].delta.contrast.se
    assert not bare.ranking.new_examples


def test_numbers_of_examples_are_not_the_same_ones_in_another_data_set():
    scores = {(r, t): right(1) for r in ("plain", "mine") for t in ("a", "b")}
    made = board(scores, groups=np.arange(N))
    (mean,) = made.row_means.together([0], [0, 1])
    assert not {*mean.clusters["a"].names} & {*mean.clusters["b"].names}
    (named,) = board(scores).row_means.together([0], [0, 1])
    assert {*named.clusters["a"].names} == {*named.clusters["b"].names}


def test_one_cell_without_scores_leaves_the_others_out_too():
    made = board({("plain", "a"): np.ones((2, N)), ("mine", "a"): [right(2), right(3, 4)]})
    made._artifacts.of.pop(made.record("minea1").units["accuracy"])
    again = Board(made.spec, made.slots, made.record, made._artifacts)
    assert not again.ranking.new_examples
    assert "these test sets" in {n.label: n.short for n in families(again)}["holds for"]


def test_without_their_files_or_on_a_large_board_scores_are_not_there(monkeypatch):
    made = board({("plain", "a"): right(1), ("mine", "a"): right(2)})
    made._artifacts.of.clear()
    again = Board(made.spec, made.slots, made.record, made._artifacts)
    assert gallery(again) is None
    assert again.scores("mine", "a") is None
    monkeypatch.setattr("bench.board.inference.examples.MAX_CELLS", 1)
    assert Board(made.spec, made.slots, made.record, made._artifacts).examples.too_many


def test_examples_of_other_seeds_may_be_others():
    made = board({("plain", "a"): [right(1), right(2)], ("mine", "a"): [right(3), right(4)]})
    name = made.record("minea1").units["accuracy"]
    made._artifacts.of[name] = Units(np.array([f"x{i:02}" for i in range(N)]), right(4))
    again = Board(made.spec, made.slots, made.record, made._artifacts)
    (mean,) = again.row_means.together([1], [0])
    assert len(mean.clusters["a"].names) == 2 * N
    assert examples.averaged(again.scores("mine", "a")) is None, "there is no mean over seeds of an example"


def test_the_gallery_shows_what_one_row_gets_right_and_the_other_wrong():
    made = board({("plain", "a"): right(5, 6, 7), ("mine", "a"): right(50)}, shuffled={"mine"})
    picture = gallery(made)
    assert picture is not None
    titles = re.findall(r"a: \w+ better than \w+ by 1.00 and more on \d of 60", picture.svg)
    assert titles == [
        "a: Mine better than Plain by 1.00 and more on 3 of 60",
        "a: Plain better than Mine by 1.00 and more on 1 of 60",
    ]
    assert "<image" in picture.svg
    assert gallery(board({("plain", "a"): right(5), ("mine", "a"): right(6)}, sheet=False)) is None


def test_the_tiles_are_those_examples(monkeypatch):
    tiles = []

    def strip(ax, line):
        tiles.append([t[0, 0, 0] for t in line.tiles])

    monkeypatch.setattr("bench.board.plots.gallery._strip", strip)
    gallery(board({("plain", "a"): right(5, 19, 20, 41), ("mine", "a"): right(50)}))
    assert tiles == [[5, 19, 20, 41], [50]]


def test_the_largest_differences_come_first_and_small_ones_not_at_all():
    scores = {("plain", "a"): np.stack([right(1, 2, 3), right(2), right(2)]), ("mine", "a"): np.ones((3, N))}
    picture = gallery(board(scores))
    assert picture is not None
    assert "by 1.00 and more on 1 of 60" in picture.svg  # the others differ in one seed of three


def test_series_over_steps_and_snapshots_are_drawn():
    steps = {"dims": ["step"], "coords": {"step": [0, 1, 2]}, "data": [2.0, 0.5, 0.5]}
    history = [{"step": s, "seconds": 1.0, "metrics": {"accuracy": a}} for s, a in ((10, 0.2), (20, 0.4))]
    made = board(
        {(row, task): right(1) for row in ("plain", "mine") for task in ("a", "b")},
        series={"mine": {"average": steps}}, history=history,
    )  # fmt: skip
    pictures = {p.name: p for p in over_steps(made)}
    assert set(pictures) == {"named-average", "named-accuracy-by-step"}
    assert "Plain" not in pictures["named-average"].svg
    assert {"Plain", "Mine"} <= set(re.findall(r">(Plain|Mine)<", pictures["named-accuracy-by-step"].svg))
    assert over_steps(board({("plain", "a"): right(1)})) == []


def test_the_heat_map_has_the_references_values_and_the_others_differences():
    def of(*v):
        return {"accuracy": {"dims": ["domain"], "coords": {"domain": ["x", "y"]}, "data": list(v)}}

    made = board(
        {("plain", "a"): right(1), ("mine", "a"): right(2)},
        series={"plain": of(0.5, 0.25), "mine": of(0.75, 0.2)},
    )
    (picture,) = by_name(made)
    assert picture.name == "named-accuracy-by-name"
    words = re.findall(r"<text[^>]*>([^<]+)</text>", picture.svg)
    assert {".500", ".250", "−.050", "a: x", "a: y"} <= set(words)
    assert words.count(".250") == 2  # the reference's y, and mine at x over the reference
    assert by_name(board({("plain", "a"): right(1), ("mine", "a"): right(2)})) == []


def test_the_page_holds_them_all():
    made = board({("plain", "a"): [right(5), right(7, 9)], ("mine", "a"): [right(6), right(8)]})
    page = render([made])
    assert "new examples like these too" in page
    assert "data:image/png;base64" in page
