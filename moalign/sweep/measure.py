"""Measure the bundle of one job, in the rewards' own units; the sweep brings all of them to one unit afterwards."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from moalign.cli.sources import distinct_prompts, load_reward
from moalign.evaluation import measure_front
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_sampling import lattice
from moalign.sweep.config import EvaluationConfig
from moalign.sweep.folder import JobFolder
from reward_heads import select


def measure_job(folder: JobFolder, about: dict[str, Any]) -> ParetoFront:
    """Measure a job's bundle and write its front.

    A policy that was trained for one preference is measured at that; one that hears none at no preference; a steerable one at all that the evaluation names.

    Args:
        folder (`JobFolder`): of the job.
        about (`dict`): its `job.json`.

    Raises:
        InputError: the reward has other objectives than the policy, or an input is refused.
    """
    from moalign.data import read_prompts

    identity, config = about["job"], EvaluationConfig.from_mapping(about["evaluation"])
    where, named = identity["bundle"] or str(folder.bundle), config.reward or identity["settings"].get("reward")
    if named is None:
        raise InputError("evaluation needs a reward where bundles are measured that the sweep does not train")
    policy, reward = SteerablePolicy.from_pretrained(where), load_reward(named)
    if set(reward.objectives) < set(policy.objectives):
        raise InputError(
            f"{where} is steered between {', '.join(policy.objectives)}, the reward {named} knows {', '.join(reward.objectives)} only"
        )
    prompts = distinct_prompts(read_prompts(config.dataset).dataset["prompt"], config.n_prompts)
    if len(prompts) < 2:
        raise InputError(f"{config.dataset}: a front needs at least 2 different prompts, found {len(prompts)}")
    asked = _preferences(identity["settings"], policy, config)
    front = measure_front(
        policy,
        select(reward, policy.objectives),
        prompts,
        asked or [Preference.uniform(policy.objectives)],
        samples_per_prompt=config.samples_per_prompt,
        source=about["label"],
        info={"reward": named},
        progress=False,
        seed=config.seed,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        batch_size=_whole_batches(len(prompts) * config.samples_per_prompt, config.batch_size),
    )
    job = {"job": folder.path.name, "method": identity["method"]} | about["axes"]
    points = [_marked(point, job, asked is not None) for point in front.points]
    # In the reward's order, which the fronts of all jobs share.
    front = _reordered(
        dataclasses.replace(front, points=tuple(points)), [o for o in reward.objectives if o in policy.objectives]
    )
    front.save(folder.front)
    return front


def _preferences(
    settings: dict[str, Any], policy: SteerablePolicy, config: EvaluationConfig
) -> list[Preference] | None:
    """`None` for a policy that hears no preference."""
    if settings.get("preference"):
        return [Preference.coerce(settings["preference"], policy.objectives)]
    if policy.conditioning.kind == "none":
        return None
    if config.preferences:
        return [Preference.coerce(text, policy.objectives) for text in config.preferences]
    return lattice(policy.objectives, config.partitions)


def _whole_batches(rows: int, limit: int) -> int:
    """A batch size that divides the rows of a point, where there is one that is not too small.

    A batch shares its random numbers. With a batch of its own the reference policy gives the same in every job, however many points are measured there.
    """
    fits = max(size for size in range(1, min(rows, limit) + 1) if rows % size == 0)
    return fits if 4 * fits >= min(rows, limit) else limit


def _marked(point: FrontPoint, job: dict[str, Any], asked: bool) -> FrontPoint:
    return dataclasses.replace(
        point, preference=point.preference if asked else None, extra=point.extra | {"sweep": job}
    )


def _reordered(front: ParetoFront, objectives: Sequence[str]) -> ParetoFront:
    """The same front with its objectives in another order."""
    at = [front.objectives.index(name) for name in objectives]

    def swap(point: FrontPoint) -> FrontPoint:
        rewards, errors = (tuple(values[k] for k in at) for values in (point.rewards, point.standard_error))
        return dataclasses.replace(point, rewards=rewards, standard_error=errors)

    samples, reference = front.prompt_rewards, front.reference_policy
    return dataclasses.replace(
        front,
        objectives=tuple(objectives),
        points=tuple(swap(point) for point in front.points),
        reference_policy=swap(reference) if reference is not None else None,
        prompt_rewards=samples.select(objectives) if samples is not None else None,
    )
