"""The settings of a sweep: what its jobs share, the axes along which they differ, and how every bundle is measured."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from frontier.errors import InputError, unknown_name
from moalign.cli.values import Mismatch, convert
from moalign.preference import Preference

ENGINES = ("local", "ray")
# In `preferences`: one steerable policy, trained at sampled preferences, beside those that are trained for one each.
SAMPLED = "sampled"


@dataclass(frozen=True)
class EvaluationConfig:
    """How the bundle of every job is measured: as `moalign front` does, all on the same prompts and in the same unit.

    Args:
        dataset (`str`): prompts; any records.
        reward (`str`, *optional*): what judges; by default the sweep's, which all jobs train on.
        partitions (`int`): a steerable policy is measured on the lattice of this many steps; one that was trained for one preference is measured at that.
        preferences (`list[str]`, *optional*): measure steerable policies at these instead of the lattice.
        n_prompts (`int`): how many different prompts, spread evenly over the data; at least 2.
        samples_per_prompt (`int`): completions per prompt and preference.
        max_new_tokens (`int`): longest completion.
        temperature (`float`): of the sampling; 0 is greedy.
        batch_size (`int`): completions per batch.
        seed (`int`): of the sampling.
        normalize (`bool`): centre and scale the rewards of all by what the reference policy of the first job gets on the same prompts.

    Raises:
        InputError: a value out of range.
    """

    dataset: str
    reward: str | None = None
    partitions: int = 5
    preferences: list[str] | None = None
    n_prompts: int = 64
    samples_per_prompt: int = 1
    max_new_tokens: int = 64
    temperature: float = 1.0
    batch_size: int = 128
    seed: int = 0
    normalize: bool = True

    def __post_init__(self) -> None:
        for name in ("partitions", "samples_per_prompt", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"evaluation.{name} must be at least 1, found {getattr(self, name)}")
        if self.n_prompts < 2:
            raise InputError(
                f"evaluation.n_prompts must be at least 2, found {self.n_prompts}: one prompt gives no standard error"
            )
        if self.temperature < 0:
            raise InputError(f"evaluation.temperature must not be negative, found {self.temperature}")
        for text in self.preferences or ():
            _weights(text, "evaluation.preferences")

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "EvaluationConfig":
        """From the names and values of a configuration file.

        Raises:
            InputError: an unknown name, a value of the wrong type, or no data set.
        """
        hints = get_type_hints(cls)
        for name in given:
            if name not in hints:
                raise unknown_name("field of evaluation", name, hints)
        if "dataset" not in given:
            raise InputError("evaluation needs a dataset: the prompts on which every policy is measured")
        return cls(**{name: _converted(value, hints[name], f"evaluation.{name}") for name, value in given.items()})

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


@dataclass
class SweepConfig:
    """One job for every combination of method, preference, seed and grid values.

    Raises:
        InputError: nothing to do, an axis that is empty or names something twice, or settings that contradict each other.
    """

    output_dir: str = field(
        metadata={
            "help": "The sweep's folder: jobs/NAME for each job, and one front.json, front.png, front.html. Run again to go on: finished jobs are not repeated."
        }
    )
    methods: list[str] | None = field(
        default=None, metadata={"help": "What to train with: clp, modpo, ...; each is a `moalign train` run."}
    )
    preferences: list[str] | None = field(
        default=None,
        metadata={
            "help": "One model for each of these (helpful=0.7,brief=0.3; conditioning none); `sampled` stands for one steerable policy. Default: steerable policies only.",
            "repeat": True,
        },
    )
    preference_lattice: int | None = field(
        default=None,
        metadata={
            "help": "One model for each point of an even lattice of so many preferences: 11 for two objectives is steps of 0.1."
        },
    )
    seeds: list[int] | None = field(
        default=None, metadata={"help": "One job for each seed. Default: the setting seed."}
    )
    grid: dict[str, Any] | None = field(
        default=None,
        metadata={"help": "Any settings of the methods with a list of values each: {learning_rate: [1e-4, 3e-4]}."},
    )
    per_method: dict[str, Any] | None = field(
        default=None,
        metadata={"help": "Settings of one method only, by its name: {modpo: {dataset: pairs.jsonl, beta: 0.1}}."},
    )
    bundles: list[str] | None = field(
        default=None, metadata={"help": "Bundles that were trained before, to be measured beside the jobs' own."}
    )
    model: str | None = field(default=None, metadata={"help": "The base model (folder or hub id) of all jobs."})
    reward: str | None = field(default=None, metadata={"help": "The reward vector, as for moalign train."})
    dataset: str | None = field(default=None, metadata={"help": "Prompts or preference pairs, as for moalign train."})
    eval_dataset: str | None = field(default=None, metadata={"help": "As for moalign train."})
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Leave broken rows of the data out, and write them to a side file."}
    )
    train: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "Settings that all jobs share. In a file and on the command line they may stand beside the others: --max_steps 50."
        },
    )
    evaluation: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "How every bundle is measured: {dataset: prompts.jsonl, reward: ..., partitions: 5, preferences: [...], n_prompts: 64, samples_per_prompt: 1, "
            "max_new_tokens: 64, temperature: 1, batch_size: 128, seed: 0, normalize: true}. Without it the jobs are trained only."
        },
    )
    engine: str = field(
        default="local",
        metadata={
            "help": "local: processes on this machine; ray: tasks of a Ray cluster (extra ray), whose machines share output_dir.",
            "choices": ENGINES,
        },
    )
    devices: list[str] | None = field(
        default=None,
        metadata={
            "help": "Where the local engine runs a job each at the same time: cuda:0,cuda:1 or cpu,cpu. Default: one job after the other."
        },
    )
    ray_address: str | None = field(
        default=None,
        metadata={
            "help": "The cluster: auto, or an address. Default: that of RAY_ADDRESS, else a cluster of this machine alone."
        },
    )
    cpus_per_job: float = field(default=1.0, metadata={"help": "What Ray sets aside for a job."})
    gpus_per_job: float | None = field(
        default=None, metadata={"help": "What Ray sets aside for a job. Default: 1 where the cluster has GPUs, else 0."}
    )
    retries: int = field(
        default=1,
        metadata={"help": "How often a job that died is started again, from its last checkpoint if it has one."},
    )
    rerun_changed: bool = field(
        default=False,
        metadata={"help": "Remove jobs that were run with other settings than now and run them again; else refused."},
    )

    def __post_init__(self) -> None:
        if not self.methods and not self.bundles:
            raise InputError("a sweep needs methods to train with (methods: [modpo, clp]) or bundles to measure")
        if self.bundles and self.evaluation is None:
            raise InputError("bundles are measured: say how with evaluation: {dataset: PROMPTS}")
        if self.preferences and self.preference_lattice is not None:
            raise InputError("give preferences or preference_lattice, not both")
        for name in ("methods", "preferences", "seeds", "bundles", "devices"):
            _check_axis(name, getattr(self, name), repeated=name == "devices")
        for text in self.preferences or ():
            if text != SAMPLED:
                _weights(text, "preferences")
        for name, values in (self.grid or {}).items():
            if not isinstance(values, list):
                raise InputError(f"grid.{name} must be a list of values, found {values!r}")
            _check_axis(f"grid.{name}", values)
        for method, settings in (self.per_method or {}).items():
            if method.replace("-", "_") not in [m.replace("-", "_") for m in self.methods or ()]:
                raise unknown_name("method in per_method", method, self.methods or ())
            if not isinstance(settings, Mapping):
                raise InputError(f"per_method.{method} must map settings to values, found {settings!r}")
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        if self.engine == "ray" and self.devices:
            raise InputError("devices are for the local engine; Ray places jobs by cpus_per_job and gpus_per_job")
        if self.retries < 0:
            raise InputError(f"retries must not be negative, found {self.retries}")
        self.evaluation_config()

    def evaluation_config(self) -> EvaluationConfig | None:
        """How bundles are measured, `None` where they are not."""
        if self.evaluation is None:
            return None
        return EvaluationConfig.from_mapping({"reward": self.reward} | dict(self.evaluation))

    def shared_settings(self) -> dict[str, Any]:
        """What all jobs share, by the names of `moalign train`."""
        own = {name: getattr(self, name) for name in ("model", "reward", "dataset", "eval_dataset")}
        known = {name: value for name, value in own.items() if value is not None}
        return known | ({"skip_bad_rows": True} if self.skip_bad_rows else {}) | dict(self.train or {})


def _check_axis(name: str, values: list[Any] | None, repeated: bool = False) -> None:
    if values is None:
        return
    if not values:
        raise InputError(f"{name} is an empty list: leave it out, or name at least one")
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice and not repeated:
        raise InputError(f"{name} names {twice[0]!r} twice")


def _weights(text: str, where: str) -> None:
    try:
        kind = Preference.coerce(text).kind
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if kind != "weights":
        raise InputError(f"{where}: found a {kind}, a front is swept over weights")


def _converted(value: Any, hint: Any, where: str) -> Any:
    try:
        return convert(value, hint)
    except Mismatch as error:
        raise InputError(f"{where}: found {value!r}, expected {error}") from error
