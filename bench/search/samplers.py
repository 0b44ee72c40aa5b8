"""Asks Optuna which values a search tries. What it gives is a function of the row and of the draw's number.

Draw 0 is the default: the row as it is. Every later draw of the random sampler has a generator of its own for
each parameter, seeded by the track, the row, the number and the parameter's name, so that neither another
row nor another parameter moves a value. Of the QMC sampler, whose draws fill the space together, the sequence
is scrambled by the row. Both know nothing of results, so the draws of a row are the same on every machine.
The TPE sampler does: it is told what ended, and its draws depend on the order of ends.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bench.contract import BenchError, digest
from bench.declarations import Dimension, plain_space
from bench.store.draws import Draw, search_id

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Sampler = Literal["random", "qmc", "tpe"]
#: Draws of an adaptive search that are the random search's, before its sampler learns from them.
STARTUP = 10
#: Digits of a number that is drawn: more say nothing, and are hard to read on a board.
_DIGITS = 6


class Space:
    """The search space of one row (for an adaptive search: on one task), and who draws from it.

    Args:
        track: name of the track.
        row: name of the row.
        dimensions: what is searched; not empty.
        sampler: who draws.
        task: the task of an adaptive search, else "".

    Raises:
        BenchError: Optuna is not installed.
    """

    def __init__(
        self, track: str, row: str, dimensions: Sequence[Dimension], sampler: Sampler, task: str = ""
    ) -> None:
        self.track, self.row, self.task, self.sampler = track, row, task, sampler
        self.dimensions = {str(d): d for d in sorted(dimensions, key=str)}
        self.plain = plain_space(dimensions)
        self._optuna = _optuna()
        self._of = {name: self._distribution(d) for name, d in self.dimensions.items()}

    @property
    def search(self) -> str:
        """Identity of the search, see `Draw.search`."""
        return search_id(self.track, self.row, self.task, self.sampler, self.plain)

    def draws(self, n: int) -> list[Draw]:
        """The first ``n`` draws of a sampler that needs no results; of TPE those before it learns."""
        later = self._qmc(n - 1) if self.sampler == "qmc" else [self._random(i) for i in range(1, n)]
        return [self._draw(i, values) for i, values in enumerate([{}, *later])]

    def learn(self, known: Sequence[tuple[Draw, float]], n: int, better: str) -> list[Draw]:
        """The next ``n`` draws of TPE.

        Args:
            known: every draw so far, in the order in which they ended, each with its score on validation, NaN
                for one that has none.
            n: how many are wanted.
            better: which scores are better, ``higher`` or ``lower``.
        """
        trial, seed = self._optuna.trial, _seed(self.track, self.row, self.task, len(known))
        with _quiet():
            sampler = self._optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True
            )
            study = self._study(sampler, "maximize" if better == "higher" else "minimize")
            for draw, value in known:
                if draw.index == 0:
                    continue  # the default of a run setting may lie outside of the space
                failed = math.isnan(value)
                study.add_trial(
                    trial.create_trial(
                        params=self._params(draw), distributions=self._of, value=None if failed else value,
                        state=trial.TrialState.FAIL if failed else trial.TrialState.COMPLETE,
                    )
                )  # fmt: skip
            asked = [study.ask(fixed_distributions=self._of).params for _ in range(n)]
        return [self._draw(len(known) + i, params) for i, params in enumerate(asked)]

    def _random(self, index: int) -> dict[str, Any]:
        found = {}
        for name, distribution in self._of.items():
            # Without the task: an adaptive search of each task begins with the draws of the random one.
            seed = _seed(self.track, self.row, name, index)
            sampler = self._optuna.samplers.RandomSampler(seed=seed)
            asked = self._study(sampler).ask(fixed_distributions={name: distribution})
            found[name] = asked.params[name]
        return found

    def _qmc(self, n: int) -> list[dict[str, Any]]:
        with _quiet():
            sampler = self._optuna.samplers.QMCSampler(scramble=True, seed=_seed(self.track, self.row))
            study = self._study(sampler)
            # Optuna draws the first trial of a study at random, since only a trial tells it the space.
            first = study.ask(fixed_distributions=self._of)
            study.tell(first, 0.0)
            return [study.ask(fixed_distributions=self._of).params for _ in range(n)]

    def _study(self, sampler: optuna.samplers.BaseSampler, direction: str = "maximize") -> optuna.Study:
        study: optuna.Study = self._optuna.create_study(sampler=sampler, direction=direction)
        return study

    def _distribution(self, d: Dimension) -> BaseDistribution:
        make = self._optuna.distributions
        found: BaseDistribution
        if d.choices:  # by number: a choice may be a list
            found = make.CategoricalDistribution(tuple(range(len(d.choices))))
        elif d.integer:
            found = make.IntDistribution(int(d.low), int(d.high), log=d.log)
        else:
            found = make.FloatDistribution(d.low, d.high, log=d.log)
        return found

    def _draw(self, index: int, params: Mapping[str, Any]) -> Draw:
        parts: dict[str, dict[str, Any]] = {"hp": {}, "run": {}}
        for name, value in params.items():
            d = self.dimensions[name]
            parts[d.part][d.name] = _value(d, value)
        hp, run = parts["hp"], parts["run"]
        return Draw(
            track=self.track, row=self.row, task=self.task, sampler=self.sampler, index=index,
            space=self.plain, hp=hp, run=run,
        )  # fmt: skip

    def _params(self, draw: Draw) -> dict[str, Any]:
        """What Optuna would have given for a draw."""
        values = {"hp": draw.hp, "run": draw.run}
        found = {name: values[d.part][d.name] for name, d in self.dimensions.items()}
        return {
            name: d.choices.index(found[name]) if d.choices else found[name]
            for name, d in self.dimensions.items()
        }


def _seed(*of: Any) -> int:
    """A seed below 2**31, another one for other values."""
    return int(digest(of)[:8], 16) >> 1


def _value(d: Dimension, value: Any) -> Any:
    """A value that Optuna gave, as a hyper-parameter: a choice by its number, a number with few digits."""
    if d.choices:
        return d.choices[value]
    return value if d.integer else min(max(float(f"{value:.{_DIGITS}g}"), d.low), d.high)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise BenchError(
            "a search needs optuna, which is not installed: pip install 'gridbench[cluster]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class _quiet(warnings.catch_warnings):  # noqa: N801 (a function to its callers)
    """Without the warnings of Optuna that some of its samplers are experimental."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
