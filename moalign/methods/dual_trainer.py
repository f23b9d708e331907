"""Train against weights that the run finds for itself (of groups, of constraints), and end with a report on what came of it."""

import json
import logging
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor

from frontier.errors import InputError
from moalign.evaluation import Samples, sample
from moalign.training.online import OnlineConfig, OnlineTrainer
from moalign.training.runs.sharded import is_sharded


@dataclass
class DualConfig(OnlineConfig):
    """What max-min over groups and constraints have in common: the weights' own step size, and the report at the end."""

    rate: float = field(
        default=0.1,
        metadata={
            "help": "Step of the weights (multipliers, group weights) per update; it follows the learning rate's schedule."
        },
    )
    report_prompts: int = field(
        default=256, metadata={"help": "Most prompts that the report at the end is measured on."}
    )
    report_samples: int = field(default=4, metadata={"help": "Completions per prompt of the report at the end."})

    def __post_init__(self) -> None:
        for name, least in (("report_prompts", 2), ("report_samples", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, found {getattr(self, name)}")
        super().__post_init__()


@dataclass(frozen=True)
class Answers:
    """What the trained policy, and the reference on the same prompts, answered at the end.

    Args:
        policy (`Samples`): N rows, the m completions of a prompt next to each other.
        reference (`Samples`, *optional*): the same of the reference policy.
        prompt_ids (`list`): of the N rows; a prompt that stands several times in the data is one prompt.
        per_prompt (`int`): m.
        source (`str`): the data set that the prompts are from, `"eval_dataset"` or `"train_dataset"`.
    """

    policy: Samples
    reference: Samples | None
    prompt_ids: list[Hashable]
    per_prompt: int
    source: str

    @property
    def about(self) -> str:
        """For print: how many prompts, and whether training saw them."""
        seen = "held-out prompts" if self.source == "eval_dataset" else "training prompts"
        return f"{len(self.prompt_ids) // self.per_prompt} {seen}, {self.per_prompt} completions each"


class DualTrainer(OnlineTrainer):
    """An `OnlineTrainer` whose scalarizer has weights with a step size `rate`: dual variables.

    The step follows the learning rate's schedule. The policy answers to a change of the weights the slower, the smaller its learning rate is; weights that
    went on at full speed would swing around their goal for ever, and the run would end wherever they just are.
    """

    args: DualConfig
    scalarizer: Any

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.policy.model.training:
            self.scalarizer.rate = self.args.rate * self._learning_rate_share()
        return super()._calculate_rewards(*args, **kwargs)

    def _learning_rate_share(self) -> float:
        """The present learning rate by the configured one."""
        if self.lr_scheduler is None or not self.args.learning_rate:
            return 1.0
        return float(self.lr_scheduler.get_last_lr()[0]) / self.args.learning_rate

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, then measure the policy and write the report into the run folder, the bundle and its card."""
        result = super().train(*args, **kwargs)
        # A policy that lies in parts over the processes answers only where all of them ask, the same with the same seeds.
        if self.is_world_process_zero() or is_sharded(self.policy.mixture.parameters()):
            try:
                self.write_report()
            except InputError as error:
                # What the report cannot be made of (a single prompt, say) is no reason to lose the trained policy.
                logging.getLogger("moalign").warning("No report on this run: %s", error)
            self.policy.training = self.describe()
        return result

    def write_report(self) -> None:
        """Measure the trained policy and write what was found into the run folder."""
        raise NotImplementedError

    def answers(self, reference: bool = False) -> Answers:
        """Complete the report's prompts: those of the evaluation data set where there is one, of the training data set otherwise.

        Args:
            reference (`bool`, *optional*, defaults to `False`): let the reference policy answer as well.
        """
        prompts, source = self._report_prompts()
        per_prompt = self.args.report_samples
        before = self.sampler.state()
        weights = self.sampler.sample(len(prompts), per_prompt).weights
        self.sampler.restore(before)  # a run that is resumed later draws what it would have drawn
        each = [prompt for prompt in prompts for _ in range(per_prompt)]
        options: dict[str, Any] = {"max_new_tokens": self.max_completion_length, "temperature": self.temperature}
        found = [
            sample(self.policy, self.reward, each, w, seed=self.args.seed + offset, **options)
            for offset, w in enumerate([weights, torch.zeros_like(weights)] if reference else [weights])
        ]
        ids: list[Hashable] = [_key(prompt) for prompt in each]
        return Answers(found[0], found[1] if reference else None, ids, per_prompt, source)

    def _report_prompts(self) -> tuple[list[Any], str]:
        """Different prompts, evenly from the data set, and which data set that is."""
        given: Any = self.eval_dataset
        source = "train_dataset" if given is None else "eval_dataset"
        given = self.train_dataset if given is None else given
        parts = given.values() if isinstance(given, dict) else [given]
        prompts = {_key(p): p for part in parts for p in cast("Dataset", part)["prompt"]}
        different = list(prompts.values())
        count = min(self.args.report_prompts, len(different))
        return [different[i * len(different) // count] for i in range(count)], source


def _key(prompt: Any) -> str:
    """A conversation has no hash."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
