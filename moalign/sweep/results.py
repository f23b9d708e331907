"""Put the fronts of all jobs together as one, in one unit, and say what became of each job."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.atomic import write_text

if TYPE_CHECKING:
    from frontier.front import FrontPoint, ParetoFront
    from moalign.sweep.config import EvaluationConfig
    from moalign.sweep.runner import Outcome
    from reward_heads import Normalizer

RESULTS = "sweep.json"
# As many as a picture has colours for.
DRAWN = 6


@dataclass(frozen=True)
class SweepResult:
    """What a sweep leaves.

    Args:
        outcomes (`list[Outcome]`): one a job.
        front (`ParetoFront`, *optional*): of all jobs that are done; `None` where nothing was measured.
    """

    outcomes: "list[Outcome]" = field(default_factory=list)
    front: "ParetoFront | None" = None

    @property
    def failed(self) -> "list[Outcome]":
        """The jobs that failed for good."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]

    def fronts(self) -> "dict[str, ParetoFront]":
        """The front taken apart by what made its points: method, grid values and seed, or (where those are more than a picture can show) method alone."""
        if self.front is None:
            return {}
        for key in (
            lambda p: p.source,
            lambda p: p.source.split(", seed ")[0],
            lambda p: str(p.extra["sweep"]["method"] or "bundles"),
        ):
            parts: dict[str, list[int]] = {}
            for i, point in enumerate(self.front.points):
                parts.setdefault(key(point), []).append(i)
            if len(parts) <= DRAWN:
                break
        return {label: self.front.take(at) for label, at in parts.items()}

    def table(self) -> str:
        """One line a job: its state, how often it was started, how long it took, and why it failed."""
        rows = [["job", "state", "attempts", "seconds", ""]]
        for outcome in self.outcomes:
            attempts = str(len(outcome.codes)) if outcome.codes else ""
            seconds = f"{outcome.seconds:.0f}" if outcome.codes else ""
            why = outcome.error if outcome.state == "failed" else f"after: {outcome.error}" if outcome.error else ""
            rows.append([outcome.job.name, outcome.state, attempts, seconds, why])
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]).rstrip() for row in rows
        )


def sweep_front(outcomes: "Sequence[Outcome]", evaluation: "EvaluationConfig") -> "ParetoFront | None":
    """The points of all jobs that are done, in the order of the jobs; `None` where there is none.

    Every point says in its `source` what made it, and in `extra["sweep"]` its job, method, seed and grid values. The reference policy is the first job's, and (with
    `normalize`) so is the unit: $(r_k - m_k) / s_k$ with mean and standard deviation over its prompts of what it gets.

    Raises:
        InputError: jobs whose objectives differ.
    """
    from frontier.front import ParetoFront
    from frontier.merge import merge

    done = [outcome for outcome in outcomes if outcome.state in ("done", "kept")]
    fronts = [ParetoFront.load(outcome.folder.front) for outcome in done]
    if not fronts:
        return None
    whole = merge(fronts)
    whole = dataclasses.replace(whole, info={n: v for n, v in whole.info.items() if n != "merged"})
    jobs = [
        {"job": outcome.job.name, "settings": outcome.job.settings, "bundle": outcome.job.bundle} for outcome in done
    ]
    info = whole.info | {"evaluation": evaluation.to_json(), "sweep": jobs}
    whole = dataclasses.replace(whole, info=info)
    if not evaluation.normalize:
        return whole
    return _in_one_unit(whole)


def _in_one_unit(front: "ParetoFront") -> "ParetoFront":
    """The front in standard deviations of the reference policy; as it is, with a note, where a reward of that is constant."""
    import torch

    from frontier.errors import InputError
    from reward_heads import Normalizer

    samples = front.prompt_rewards
    if samples is None or samples.reference is None:
        return _noted(front, "rewards are in their own units: the jobs were measured on different prompts")
    try:
        reference = torch.from_numpy(samples.reference.copy())
        unit = Normalizer.from_scores(
            reference, front.objectives, source=f"the reference policy on {samples.n_prompts} prompts"
        )
    except InputError as error:
        return _noted(front, f"rewards are in their own units: {error}")
    return rescaled(front, unit)


def rescaled(front: "ParetoFront", unit: "Normalizer") -> "ParetoFront":
    """A front of raw rewards in the unit of a normaliser: means, standard errors and rewards on each prompt."""
    from frontier.prompt_rewards import PromptRewards

    location, scale = unit.location, unit.scale

    def swap(point: "FrontPoint") -> "FrontPoint":
        rewards = tuple((r - m) / s for r, m, s in zip(point.rewards, location, scale, strict=True))
        errors = tuple(e / s for e, s in zip(point.standard_error, scale, strict=True))
        return dataclasses.replace(point, rewards=rewards, standard_error=errors)

    samples = front.prompt_rewards
    if samples is not None:
        reference = None if samples.reference is None else (samples.reference - location) / scale
        samples = PromptRewards(samples.objectives, (samples.rewards - location) / scale, samples.prompts, reference)
    return dataclasses.replace(
        front,
        points=tuple(swap(p) for p in front.points),
        reference_policy=swap(front.reference_policy) if front.reference_policy is not None else None,
        normalizer=unit.to_json(),
        prompt_rewards=samples,
    )


def write_results(out: Path, result: SweepResult) -> None:
    """Write `sweep.json`, and the front with its pictures."""
    content: dict[str, Any] = {"jobs": [outcome.to_json() for outcome in result.outcomes]}
    write_text(out / RESULTS, json.dumps(content, indent=2) + "\n")
    if result.front is None:
        return
    from frontier.plot import front_page, plot_front

    parts = result.fronts()
    drawn: Any = parts if 1 < len(parts) <= DRAWN else result.front
    title = f"Pareto front of {out.resolve().name}"
    result.front.save(out / "front.json")
    plot_front(drawn, out / "front.png", title=title)
    front_page(drawn, out / "front.html", title=title)


def _noted(front: "ParetoFront", note: str) -> "ParetoFront":
    return dataclasses.replace(front, info=front.info | {"notes": [*front.info.get("notes", []), note]})
