"""Settings of the online learner."""

from dataclasses import dataclass, field

from trl import RLOOConfig

from frontier.errors import InputError, unknown_name
from moalign.training.rollouts.rollout import check_save_steps
from moalign.training.steering_config import SteeringConfig

ROLLOUTS = ("batched", "transformers")

# Options of TRL's that would quietly undo the steering.
_REFUSED = {
    "use_vllm": "vLLM applies one adapter per request and would generate unsteered completions",
    "use_transformers_continuous_batching": "it regroups the rows of a batch, and each row has its own weights",
    "sync_ref_model": "the reference is the base model, which must stay as it is for the weights to keep their meaning",
    "reward_weights": "each prompt brings its own weights; set `preference` to train for one of them",
}


@dataclass
class OnlineConfig(SteeringConfig, RLOOConfig):  # type: ignore[misc]
    """Configuration of the online learner: TRL's `RLOOConfig` plus the preference, the conditioning and the adapters."""

    gradient_aggregation: str | None = field(
        default=None,
        metadata={
            "help": "Combine the objectives' gradients (UPGrad, MGDA, CAGrad, PCGrad, ...) instead of their rewards; the preference still weighs them."
        },
    )

    rollout: str = field(
        default="batched",
        metadata={
            "help": "How completions are generated: batched (a group's prompt is computed once, rows that have ended cost nothing more; without dropout) or transformers "
            "(its `generate`, row by row). Models and settings that the batching does not know (sliding windows, beams, penalties, sharded weights) get "
            "transformers, with a warning.",
            "choices": ROLLOUTS,
        },
    )

    share_prompts: bool = field(
        default=True,
        metadata={
            "help": "Score and train a group's completions behind one copy of their prompt, with the output layer on completions only; exact."
        },
    )

    reuse_rollout_forward: bool = field(
        default=True,
        metadata={
            "help": "Train on the forward that scored the rollout where each rollout is used once (a forward less per update; its activations stay in memory meanwhile)."
        },
    )

    overlap_rewards: int = field(
        default=0,
        metadata={
            "help": "Completions that are scored together while others are still generated; 0: all at the end. For rewards that wait (HTTP, judges) and machines with cores to "
            "spare. The reward is called in a second thread, never twice at once; it must neither read the policy that is trained nor draw from torch's global generator. "
            "Goes with rollout batched."
        },
    )

    def __post_init__(self) -> None:
        for name, why in _REFUSED.items():
            if getattr(self, name):
                raise InputError(f"{name} cannot be used: {why}")
        if self.rollout not in ROLLOUTS:
            raise unknown_name("rollout", self.rollout, ROLLOUTS)
        if self.overlap_rewards < 0:
            raise InputError(f"overlap_rewards is a number of completions, or 0 for none, found {self.overlap_rewards}")
        self.settle()
        super().__post_init__()
        check_save_steps(self)
