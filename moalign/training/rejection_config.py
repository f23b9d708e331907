"""The settings of the rejection-sampling learner."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

from frontier.errors import InputError, unknown_name
from moalign.training.directions import DirectionSampler
from moalign.training.rollouts.rollout import PreferenceSampler, preference_sampler
from moalign.training.steering_config import SteeringConfig

PREFERENCES = ("weights", "directions")
# Options of Trainer's that would train on something else than the present round's rows.
_REFUSED = {
    "dataloader_persistent_workers": "its workers would keep the rows of the first round",
    "remove_unused_columns": "each row carries its preference beside the tokens",
    "label_smoothing_factor": "the loss is the likelihood of the kept completions",
}


@dataclass
class RejectionConfig(SteeringConfig, TrainingArguments):
    """Configuration of the rejection-sampling learner: `TrainingArguments` plus the rounds, the preferences, the conditioning and the adapters.

    Training takes `rounds * epochs_per_round` epochs; `max_steps`, as everywhere in transformers, wins over that.
    """

    rounds: int = field(default=3, metadata={"help": "How often new completions are drawn from the present policy."})
    num_generations: int = field(
        default=8, metadata={"help": "Completions per prompt and preference, of which the best is kept."}
    )
    prompts_per_round: int = field(
        default=512, metadata={"help": "Prompts of a round, each under a preference of its own."}
    )
    epochs_per_round: int = field(default=1, metadata={"help": "Passes over the completions that a round keeps."})
    keep: int = field(default=1, metadata={"help": "How many of each prompt's completions are kept, the best first."})
    max_completion_length: int = field(default=256, metadata={"help": "Longest completion, in tokens."})
    temperature: float = field(default=1.0, metadata={"help": "Of the sampling."})
    generation_batch_size: int = field(default=64, metadata={"help": "Completions that are generated at once."})
    preferences: str = field(
        default="weights",
        metadata={
            "help": "What is sampled per prompt: weights (Dirichlet on the simplex) or directions (unit vectors, which may ask for less of something).",
            "choices": PREFERENCES,
        },
    )
    primary: str | None = field(
        default=None, metadata={"help": "The objective that directions lie around; the first by default."}
    )
    max_angle: float | None = field(
        default=45.0,
        metadata={
            "help": "Greatest angle of a direction to the primary objective, in degrees; none: Dirichlet weights scaled to unit length, without negative parts."
        },
    )
    dpo_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of a DPO loss of each prompt's best against its worst completion, beside the likelihood of the best; 0 leaves it out."
        },
    )
    beta: float = field(default=0.1, metadata={"help": "KL coefficient of that DPO loss."})
    logging_steps: float = field(default=10, metadata={"help": "Log every so many updates."})
    bf16: bool | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "bfloat16 mixed precision. Defaults to true where there is a GPU."}
    )
    num_train_epochs: float | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Follows from rounds and epochs_per_round; nothing to set."}
    )
    remove_unused_columns: bool | None = field(  # type: ignore[assignment]
        default=False, metadata={"help": "Cannot be used: each row carries its preference beside the tokens."}
    )

    def __post_init__(self) -> None:
        for name, why in _REFUSED.items():
            if getattr(self, name):
                raise InputError(f"{name} cannot be used: {why}")
        for name in (
            "rounds",
            "prompts_per_round",
            "epochs_per_round",
            "max_completion_length",
            "generation_batch_size",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 1 <= self.keep < self.num_generations:
            raise InputError(
                f"keep must be at least 1 and below num_generations ({self.num_generations}), found {self.keep}: keeping all of them chooses nothing"
            )
        if not self.temperature > 0:
            raise InputError(
                f"temperature must be positive, found {self.temperature}: greedy completions are all the same"
            )
        if not self.dpo_weight >= 0 or not self.beta > 0:
            raise InputError(
                f"dpo_weight must not be negative and beta positive, found {self.dpo_weight} and {self.beta}"
            )
        if self.preferences not in PREFERENCES:
            raise unknown_name("preferences", self.preferences, PREFERENCES)
        if self.train_sampling_strategy not in ("random", "sequential"):
            raise InputError(
                f"train_sampling_strategy must be random or sequential, found {self.train_sampling_strategy}: it sorts by lengths before there are completions"
            )
        epochs = self.rounds * self.epochs_per_round
        if self.num_train_epochs not in (None, epochs):
            raise InputError(
                f"num_train_epochs follows from rounds * epochs_per_round = {epochs}, found {self.num_train_epochs}: set those two"
            )
        self.num_train_epochs = float(epochs)
        self.settle()
        super().__post_init__()

    def sampler(self, objectives: tuple[str, ...], decides_alone: bool = False) -> PreferenceSampler:
        """A fresh sampler of the preferences that these settings ask for; see `preference_sampler`."""
        if self.preferences == "weights" or self.preference is not None or self.conditioning == "none":
            return preference_sampler(self, objectives, decides_alone)
        return DirectionSampler(objectives, self.primary, self.max_angle, self.concentration, self.seed)
