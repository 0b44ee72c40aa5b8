from __future__ import annotations

import pytest

from bench.board.model import Board
from bench.board.paper_figures import PaperFigure, read_paper_figures
from bench.board.tables.paper_figures import reproductions
from bench.contract import BenchError

HEAD = "row,task,metric,value,std,source,setting,difference\n"


def write(tmp_path, text):
    path = tmp_path / "sample.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_values_with_their_printed_digits(tmp_path):
    text = (
        HEAD
        + 'lr,criteo,auc,0.810,,"Paper, table 2",dim 10,\nfm,criteo,auc,0.81,0.002,Paper,,smaller test set\n'
    )
    a, b = read_paper_figures(write(tmp_path, text))
    assert (a.value, a.digits, a.std, a.source) == (0.81, 3, None, "Paper, table 2")
    assert (b.digits, b.std, b.difference) == (2, 0.002, "smaller test set")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            HEAD + "lr,criteo,auc,0.81,,P,,\nlr,criteo,auc,x,,P,,\n",
            r"sample.csv:3: value 'x' is not a number",
        ),
        (HEAD + "lr,criteo,auc,nan,,P,,\n", r":2: value 'nan'"),
        (HEAD + "lr,criteo,auc,0.8,,,,\n", r":2: source is empty"),
        (HEAD + "lr,criteo,auc,0.8\n", r":2: expected 8 values"),
        (HEAD + "lr,criteo,auc,0.8,,P,,,,\n", r":2: expected 8 values"),
        (HEAD.replace("source", "sorce"), r":1: unknown column 'sorce'; did you mean 'source'"),
        (HEAD.replace(",std", ""), r":1: missing column 'std'"),
        ("", r":1: missing column 'row'"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, said):
    with pytest.raises(BenchError, match=said):
        read_paper_figures(write(tmp_path, text))


def test_a_missing_file_is_a_users_mistake(tmp_path):
    with pytest.raises(BenchError, match="cannot be read"):
        read_paper_figures(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("value", "std", "digits", "verdict"),
    [
        (0.7010, None, 3, "reproduced"),  # 0.7010 as printed is 0.701
        (0.7030, 0.0025, 4, "reproduced"),  # within the published sd
        (0.7014, None, 4, "within interval"),  # not to the digit, but inside ours
        (0.7210, None, 4, "off by −0.0200"),
    ],
)
def test_verdicts(sample, slots, value, std, digits, verdict):
    lr = [s for s in slots if (s.row, s.task) == ("lr", "flights-1x")]
    for s, v in zip(lr, (0.7002, 0.7010, 0.7018), strict=True):
        s.metrics = {"auc": v}
    p = PaperFigure(
        row="lr", task="flights-1x", metric="auc", value=value, std=std, source="x", digits=digits
    )
    (b,) = reproductions(Board(sample.spec(paper_figures=[p]), slots))
    assert b.verdict == verdict


def test_only_what_is_on_the_board_is_set_beside_it(sample, slots):
    known = {"metric": "auc", "value": 0.8, "source": "x"}
    ps = [
        PaperFigure(row="lr", task="criteo-1x", **known),
        PaperFigure(row="mine", task="flights-4x", **known),
    ]
    (b,) = reproductions(Board(sample.spec(paper_figures=ps), slots))
    assert (b.paper.row, b.verdict, b.ours) == ("mine", "not run", None)
