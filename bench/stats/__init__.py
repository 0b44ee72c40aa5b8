"""Means, tests, families of comparisons and power: numbers in, tables out; no input or output, no board.

A row is a mean over data sets, with every source of chance that is known to be in it (`rows`): its seeds,
data set by data set, and its test examples where their scores are kept. Differences of rows are tested with
Welch's and Satterthwaite's degrees of freedom (`contrasts`); nothing is pooled over rows, whose variances
differ five- to sevenfold. What is said of them falls into three families, each at 5 %: claims that a track
declares (`claims`), every row against the reference (`families.dunnett`), and all pairs, shown as letters
(`letters`). How often each errs is simulated in ``tests/perf/test_stats_sim.py``.
"""

from __future__ import annotations

from bench.stats.claims import TASKS as TASKS
from bench.stats.claims import Judged as Judged
from bench.stats.claims import Verdict as Verdict
from bench.stats.claims import joint_p as joint_p
from bench.stats.claims import judge as judge
from bench.stats.claims import over_tasks as over_tasks
from bench.stats.claims import verdict as verdict
from bench.stats.contrasts import Contrast as Contrast
from bench.stats.contrasts import all_pairs as all_pairs
from bench.stats.contrasts import contrast as contrast
from bench.stats.estimates import LEVEL as LEVEL
from bench.stats.estimates import POWER as POWER
from bench.stats.estimates import Array as Array
from bench.stats.estimates import Bools as Bools
from bench.stats.estimates import Bound as Bound
from bench.stats.estimates import Estimate as Estimate
from bench.stats.estimates import beyond as beyond
from bench.stats.estimates import estimate as estimate
from bench.stats.estimates import half_width as half_width
from bench.stats.estimates import split_value as split_value
from bench.stats.estimates import t_quantile as t_quantile
from bench.stats.estimates import two_sided as two_sided
from bench.stats.families import Against as Against
from bench.stats.families import dunnett as dunnett
from bench.stats.families import holm as holm
from bench.stats.families import holm_pairs as holm_pairs
from bench.stats.letters import letters as letters
from bench.stats.power import Needed as Needed
from bench.stats.power import detectable as detectable
from bench.stats.power import seeds_needed as seeds_needed
from bench.stats.rows import ClusterScores as ClusterScores
from bench.stats.rows import RowMean as RowMean
from bench.stats.rows import Source as Source
from bench.stats.rows import row_mean as row_mean
from bench.stats.slopes import geometric as geometric
from bench.stats.slopes import slope as slope
