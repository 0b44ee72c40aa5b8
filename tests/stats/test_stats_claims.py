"""Verdicts on claims: against 0 and against a paper's figure, with several counterparts, and over tasks."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats as ss

from bench import stats
from bench.stats import Contrast


def contrast(diff, se=0.01, df=20.0):
    half = float(stats.t_quantile(df)) * se
    return Contrast(diff, se, df, half, float(stats.two_sided(diff / se, df)))


@pytest.mark.parametrize(
    ("diff", "paper", "verdict", "beside"),
    [
        (0.05, None, "shown", ""),
        (0.05, 0.06, "shown", "compatible with the paper's"),
        (0.05, 0.02, "shown", "larger than the paper's"),
        (0.05, 0.10, "shown, smaller than the paper's", "smaller than the paper's"),
        (0.01, 0.02, "not shown", "compatible with the paper's"),
        (0.01, 0.10, "not shown", "smaller than the paper's"),
        (-0.05, 0.10, "opposite", "smaller than the paper's"),
    ],
)
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_verdicts(diff, paper, verdict, beside, better):
    sign = 1 if better == "higher" else -1
    paper = None if paper is None else sign * paper
    (found,) = stats.judge([[contrast(sign * diff)]], better=better, papers=[paper])
    assert (found.verdict, found.beside) == (verdict, beside)


def test_a_claim_over_several_counterparts_holds_against_each():
    strong, weak, against = contrast(0.05), contrast(0.01), contrast(-0.05)
    assert stats.joint_p([strong, weak]) == weak.p
    assert stats.joint_p([strong, against]) == 1
    assert stats.joint_p([strong, Contrast(0.1, None, None, None, None, "fewer than 2 seeds")]) is None
    claims = [[strong, strong], [strong, weak], [against, against]]
    found = stats.judge(claims, better="higher", papers=[None] * 3)
    assert [f.verdict for f in found] == ["shown", "not shown", "opposite"]


def test_claims_are_corrected_among_themselves_alone():
    claims = [[contrast(d)] for d in (0.05, 0.025, 0.021)]
    found = stats.judge(claims, better="higher", papers=[0.03, None, 0.03])
    assert [f.p for f in found] == pytest.approx(stats.holm([c[0].p for c in claims]).tolist())
    assert found[1].p_paper is None
    assert [found[i].p_paper for i in (0, 2)] == pytest.approx(
        stats.holm([claims[i][0].against(0.03) for i in (0, 2)]).tolist()
    )


def test_what_was_not_judged_is_no_part_of_the_family():
    lone = Contrast(0.1, None, None, None, None, "fewer than 2 seeds")
    found = stats.judge([[lone], [contrast(0.03)]], better="higher", papers=[0.1, None])
    assert (found[0].verdict, found[0].p, found[0].p_paper) == ("not judged", None, None)
    assert found[1].p == contrast(0.03).p


def test_over_tasks_is_the_paired_t_and_asks_for_five():
    d = np.array([0.1, 0.2, 0.05, 0.3, 0.12])
    c = stats.over_tasks(d)
    assert (c.diff, c.p, c.df) == pytest.approx((d.mean(), ss.ttest_1samp(d, 0).pvalue, 4))
    assert c.against(0.1) == pytest.approx(ss.ttest_1samp(d, 0.1).pvalue)
    assert stats.over_tasks(d[:4]).why == "4 of at least 5 independent tasks"
    assert stats.over_tasks(np.ones(5)).why == "the same difference in all 5 tasks"
