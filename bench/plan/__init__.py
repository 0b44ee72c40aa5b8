"""The plan: all cells and stages of a profile, the state of each, their order, and how long they take."""

from bench.plan.durations import Estimate as Estimate
from bench.plan.durations import estimate as estimate
from bench.plan.filter import Filter as Filter
from bench.plan.model import Factor as Factor
from bench.plan.model import Plan as Plan
from bench.plan.model import PlannedCell as PlannedCell
from bench.plan.model import PlannedStage as PlannedStage
from bench.plan.model import State as State
from bench.plan.model import Timing as Timing
from bench.plan.planner import make_plan as make_plan
from bench.plan.planner import plan_draws as plan_draws
from bench.plan.planner import plan_searches as plan_searches
from bench.plan.planner import rows_with_space as rows_with_space
