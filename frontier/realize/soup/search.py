"""Search for the soups that give the best front under a vector of rewards."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from frontier import measure
from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from frontier.measure.rows import whole_number
from frontier.objectives import check_objectives
from frontier.prompt_rewards import PromptRewards
from frontier.realize.soup.evaluations import Evaluation, Evaluations
from frontier.realize.soup.optimizers import SoupOptimizer, make_optimizer
from frontier.realize.soup.soup import EXTRA, Soup
from frontier.realize.soup.space import SoupSpace

Evaluated = Evaluation | FrontPoint | Sequence[float] | NDArray[np.float64]
# After so many batches of nothing but known soups an optimizer has run dry.
STALE = 25


def search_soups(
    evaluate: Callable[[Soup], Evaluated],
    space: SoupSpace,
    *,
    objectives: Sequence[str],
    budget: int,
    optimizer: str | SoupOptimizer = "nsga2",
    seed: int = 0,
    evaluations: Evaluations | None = None,
    prompts: Sequence[str] | None = None,
    reference: bool = True,
    everything: bool = False,
    normalizer: dict[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
    progress: str | None = "Soups",
) -> ParetoFront:
    """Evaluate soups until the budget is spent, and hand back the front of the best. Every objective is maximised.

    A soup that was asked twice, or that `evaluations` knows, is not evaluated again. The same arguments ask for the same soups whatever was known before, so a search that was killed and
    is run again ends with the result of one that was not.

    Args:
        evaluate: gets a `Soup`; returns an `Evaluation`, a `FrontPoint`, or the K mean rewards.
        space (`SoupSpace`): the soups that may be tried.
        objectives (`Sequence[str]`): the K names, at least 2.
        budget (`int`): how many different soups to evaluate, those that are known already among them.
        optimizer (`str` or `SoupOptimizer`, *optional*, defaults to `"nsga2"`): a name in `OPTIMIZERS`: `nsga2`, `nehvi`, `improvement`, `random` or `lattice` (plain linear interpolation).
        seed (`int`, *optional*, defaults to 0): of the optimizer.
        evaluations (`Evaluations`, *optional*): what is known, and where new results are kept.
        prompts (`Sequence[str]`, *optional*): N ids of the prompts behind `Evaluation.by_prompt`, for the front's `prompt_rewards`.
        reference (`bool`, *optional*, defaults to `True`): evaluate the base too, as the front's `reference_policy`; it is not part of the budget.
        everything (`bool`, *optional*, defaults to `False`): keep dominated soups in the front.
        normalizer (`dict`, *optional*): goes into the front.
        info (`Mapping`, *optional*): goes into the front.
        progress (`str`, *optional*, defaults to `"Soups"`): the name of the bar, which shows the hypervolume; `None` hides it.

    Returns:
        `ParetoFront`: its points carry their soup under `extra["soup"]` (`Soup.of_point` reads it). `info["search"]` says how it was searched and what was reached.

    Raises:
        InputError: the budget is too small, an unknown optimizer, or results that do not fit the objectives.

    Example:
        ```python
        front = search_soups(rewards_of, SoupSpace(("helpful", "brief")), objectives=["helpful", "brief"], budget=60)
        Soup.of_point(front.points[0]).coefficients
        ```
    """
    names = check_objectives(objectives)
    known = Evaluations() if evaluations is None else evaluations
    chooser = optimizer
    if isinstance(chooser, str):
        chooser = make_optimizer(chooser, space, len(names), whole_number(budget, "budget", 1), seed)
    run = _Run(evaluate, known, names)
    with tqdm(total=budget, desc=progress, disable=progress is None, unit="soup") as bar:
        base = run.of(Soup.base(space.experts)) if reference else None
        stale = 0
        while len(run.found) < budget and stale < STALE:
            asked = chooser.ask()
            if len(asked) == 0:
                break
            before = len(run.found)
            results = run.batch(space.soups(asked), budget, bar, base)
            stale = 0 if len(run.found) > before else stale + 1
            if len(results) < len(asked):
                break
            rewards, errors = (np.array([getattr(r.point, f) for r in results]) for f in ("rewards", "standard_error"))
            chooser.tell(asked, rewards, errors)
    search = {
        "optimizer": chooser.kind,
        "seed": chooser.seed,
        "budget": budget,
        "evaluations": len(run.found),
        "experts": list(space.experts),
        "blocks": list(space.blocks),
        "limits": None if space.limits is None else list(space.limits),
    }
    return _front(run, base, prompts, everything, normalizer, {**(info or {}), "search": search})


class _Run:
    """The soups of one search in the order in which they were first asked."""

    def __init__(self, evaluate: Callable[[Soup], Evaluated], known: Evaluations, objectives: tuple[str, ...]) -> None:
        self.evaluate, self.known, self.objectives = evaluate, known, objectives
        self.found: dict[str, tuple[Soup, Evaluation]] = {}
        self.place: NDArray[np.float64] | None = None

    def of(self, soup: Soup) -> Evaluation:
        """What a soup gives, evaluated only if that is not known."""
        found = self.known.get(soup)
        if found is None:
            found = _evaluation(self.evaluate(soup), self.objectives, soup)
            self.known.add(soup, found)
        if len(found.point.rewards) != len(self.objectives):
            raise InputError(
                f"a soup's evaluation has {len(found.point.rewards)} rewards for the objectives {', '.join(self.objectives)}"
            )
        return found

    def batch(self, soups: Sequence[Soup], budget: int, bar: Any, base: Evaluation | None) -> list[Evaluation]:
        """The results of these soups, as many as the budget allows."""
        results = []
        for soup in soups:
            key = self.known.key(soup)
            if key not in self.found:
                if len(self.found) >= budget:
                    break
                self.found[key] = (soup, self.of(soup))
                bar.update()
            results.append(self.found[key][1])
        if self.place is None and results:
            # From the first batch on the volume is above one point, so that it only grows.
            self.place = measure.reference_point([r.point.rewards for r in (*results, *([base] if base else []))])
        if self.place is not None:
            bar.set_postfix_str(f"hypervolume {self.volume():.4g}")
        return results

    def volume(self) -> float:
        """The hypervolume of all that was found, above the run's reference point."""
        assert self.place is not None
        rows = np.array([e.point.rewards for _, e in self.found.values()])
        return measure.hypervolume(np.maximum(rows, self.place), self.place)


def _evaluation(found: Evaluated, objectives: tuple[str, ...], soup: Soup) -> Evaluation:
    if isinstance(found, FrontPoint):
        found = Evaluation(found)
    if not isinstance(found, Evaluation):
        rewards = tuple(np.asarray(found, dtype=np.float64).reshape(-1).tolist())
        if len(rewards) != len(objectives) or not all(map(math.isfinite, rewards)):
            raise InputError(
                f"evaluate must return a finite reward for each of {', '.join(objectives)}, found {list(rewards)} at {soup}"
            )
        found = Evaluation(FrontPoint(rewards, (math.nan,) * len(rewards), 1))
    return found


def _front(
    run: _Run,
    base: Evaluation | None,
    prompts: Sequence[str] | None,
    everything: bool,
    normalizer: dict[str, Any] | None,
    info: dict[str, Any],
) -> ParetoFront:
    rows = list(run.found.values())
    points = tuple(
        dataclasses.replace(e.point, extra={**e.point.extra, EXTRA: soup.to_json()}, source=e.point.source or "soup")
        for soup, e in rows
    )
    if run.place is not None:
        info["search"] |= {"reference_point": run.place.tolist(), "hypervolume": run.volume()}
    answers = [e.by_prompt for _, e in rows]
    samples = None
    if prompts is not None and all(a is not None for a in answers):
        own = None if base is None else base.by_prompt
        samples = PromptRewards(run.objectives, np.array(answers), tuple(prompts), own)
    made = ParetoFront(run.objectives, points, None if base is None else base.point, normalizer, info, samples)
    return made if everything else made.non_dominated()
