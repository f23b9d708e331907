"""Turn the axes of a sweep into jobs, each with a name that stays its own when an axis gets longer."""

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from frontier.errors import InputError, unknown_name
from moalign.cli.methods import find_method
from moalign.cli.values import Mismatch, convert
from moalign.preference import Preference
from moalign.sweep.config import SAMPLED, SweepConfig

LONGEST_NAME = 120
# Set by the sweep itself for every job.
_OWN = {
    "output_dir": "each job has a folder of its own under output_dir",
    "resume_from_checkpoint": "a sweep goes on by itself",
    "overwrite_output_dir": "a sweep goes on by itself, and rerun_changed runs changed jobs again",
}


@dataclass(frozen=True)
class Job:
    """One policy to train and measure.

    Args:
        name (`str`): of its folder.
        method (`str`, *optional*): of `moalign train`; `None` for a bundle that is there already.
        settings (`dict`): of `moalign train METHOD`, as JSON values, without the output folder.
        axes (`dict`): what tells it from the others: `preference`, `seed`, names of the grid.
        bundle (`str`, *optional*): that is only measured.
    """

    name: str
    method: str | None
    settings: dict[str, Any]
    axes: dict[str, Any]
    bundle: str | None = None

    @property
    def label(self) -> str:
        """What its points are called: everything but the preference, which they carry themselves."""
        kind = self.method or self.bundle or ""
        if self.axes.get("preference", SAMPLED) != SAMPLED:
            kind += ", one model per preference"
        return ", ".join([kind, *(f"{n} {_short(v)}" for n, v in self.axes.items() if n != "preference")])

    def identity(self) -> dict[str, Any]:
        """All that its training depends on, as far as the configuration says; contents of files are not looked at."""
        return {"method": self.method, "bundle": self.bundle, "settings": self.settings}


def expand(config: SweepConfig, objectives: Callable[[], Sequence[str]] | None = None) -> list[Job]:
    """All jobs: for every method, every combination of grid values, every preference and every seed, in this order; then the bundles.

    Args:
        config (`SweepConfig`): the sweep.
        objectives (`Callable`, *optional*): gives the objectives that `preference_lattice` is over; asked only for that.

    Raises:
        InputError: an unknown method, a setting that a method does not have or that has the wrong type, a missing one, a lattice that does not exist, no one reward to measure by.
    """
    preferences = _preferences(config, objectives)
    jobs = [job for method in config.methods or () for job in _of_method(config, method.replace("-", "_"), preferences)]
    for path in config.bundles or ():
        jobs.append(Job(_name(["bundle", path]), None, {}, {}, bundle=path))
    _check_judged(config, jobs)
    seen: dict[str, Job] = {}
    for job in jobs:
        # Some file systems take A and a for one.
        if (other := seen.setdefault(job.name.lower(), job)) is not job:
            raise InputError(f"two jobs would share the folder '{job.name}': {other.label} and {job.label}")
    return jobs


def _check_judged(config: SweepConfig, jobs: Sequence[Job]) -> None:
    """Refuse a front of numbers from several judges."""
    evaluation = config.evaluation_config()
    if evaluation is None or evaluation.reward is not None:
        return
    rewards = {str(job.settings["reward"]) for job in jobs if job.method is not None}
    if len(rewards) > 1 or config.bundles:
        found = f"the jobs train on {', '.join(sorted(rewards))}" if rewards else "bundles bring none"
        raise InputError(f"evaluation needs a reward that judges all jobs, since {found}")


def _of_method(config: SweepConfig, method: str, preferences: Sequence[str | None]) -> list[Job]:
    own = {m.replace("-", "_"): settings for m, settings in (config.per_method or {}).items()}.get(method, {})
    shared = config.shared_settings() | dict(own)
    for axis, name in (("seeds", "seed"), ("preferences", "preference")):
        swept = preferences != [None] if axis == "preferences" else config.seeds is not None
        if swept and name in shared:
            raise InputError(f"{name} {shared[name]!r} is set for all jobs of {method}, but {axis} is an axis")
    grid = config.grid or {}
    for name in ("seed", "preference", *_OWN):
        if name in grid:
            raise InputError(
                f"grid.{name}: use {name}s" if name in ("seed", "preference") else f"grid.{name}: {_OWN[name]}"
            )
    seeds: Sequence[int | None] = config.seeds or [None]
    jobs = []
    for values in itertools.product(*grid.values()):
        varied = dict(zip(grid, values, strict=True))
        for preference, seed in itertools.product(preferences, seeds):
            axes: dict[str, Any] = dict(varied)
            settings = shared | varied
            if preference is not None:
                axes["preference"] = preference
                if preference != SAMPLED:
                    settings = {"conditioning": "none"} | settings | {"preference": preference}
            if seed is not None:
                axes["seed"] = seed
                settings = settings | {"seed": seed}
            parts = [method]
            if preference is not None:
                parts.append(_told(preference))
            parts += [f"{n}{_short(v)}" for n, v in axes.items() if n != "preference"]
            jobs.append(Job(_name(parts), method, check_settings(method, settings), axes))
    return jobs


def check_settings(method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as JSON values of the right types.

    Raises:
        InputError: the method has no such setting, a value does not fit, or one that it needs is missing.
    """
    from moalign.cli.verbs import train

    find_method(method)
    options = train.command(method).options()
    found = {}
    for name, value in settings.items():
        if name in _OWN:
            raise InputError(f"{name} cannot be set: {_OWN[name]}")
        if name not in options:
            error = unknown_name(f"setting of {method}", name, options)
            near = str(error).partition(" Valid: ")[0].rstrip(":")
            raise InputError(
                f"{near}; `moalign train {method} --help-all` lists all. What only some methods have goes under per_method"
            )
        try:
            found[name] = _plain(convert(value, options[name].hint))
        except Mismatch as error:
            raise InputError(f"{name} of {method}: found {value!r}, expected {error}") from error
    missing = [o.name for o in options.values() if o.required and o.name not in found and o.name not in _OWN]
    if missing:
        raise InputError(f"the jobs of {method} need {', '.join(missing)}: give it for all, or under per_method")
    return found


def _preferences(config: SweepConfig, objectives: Callable[[], Sequence[str]] | None) -> list[str | None]:
    if config.preference_lattice is not None:
        if objectives is None:
            raise InputError("preference_lattice needs to know the objectives, which a reward would tell")
        return [str(p) for p in _lattice(list(objectives()), config.preference_lattice)]
    if not config.preferences:
        return [None]
    texts = [text if text == SAMPLED else str(Preference.coerce(text)) for text in config.preferences]
    return list(texts)


def _lattice(objectives: list[str], size: int) -> list[Preference]:
    """The lattice of so many preferences."""
    from moalign.preference_sampling import lattice

    if len(objectives) < 2:
        raise InputError(f"preference_lattice is over two objectives or more, found {', '.join(objectives)}")
    below = above = 1
    for partitions in itertools.count(1):
        above = math.comb(partitions + len(objectives) - 1, len(objectives) - 1)
        if above >= size:
            break
        below = above
    if above != size:
        near = f"{above}" if below == 1 else f"{below} or {above}"
        raise InputError(
            f"preference_lattice: no even lattice over {', '.join(objectives)} has {size} points; the nearest has {near}"
        )
    return lattice(objectives, partitions)


def _name(parts: Sequence[str]) -> str:
    name = "-".join(re.sub(r"[^\w.+]+", "_", part).strip("_") for part in parts)
    whole = name.encode()  # file systems count bytes
    if len(whole) > LONGEST_NAME:
        name = f"{whole[: LONGEST_NAME - 9].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:8]}"
    return name


def _told(preference: str) -> str:
    if preference == SAMPLED:
        return SAMPLED
    return "_".join(f"{name}{value:.4g}" for name, value in Preference.coerce(preference).values.items())


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(value: Any) -> Any:
    """As JSON values."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value
