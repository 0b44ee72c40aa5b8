"""``bench.yaml``, the suite file: what to run, never how it works."""

from bench.suite.model import Suite as Suite
from bench.suite.model import TrackPlan as TrackPlan
from bench.suite.model import resolve as resolve
