"""Settings of the direct-alignment learner, under TRL's names; what it does not do is refused."""

from dataclasses import dataclass, field
from typing import Any

from trl import DPOConfig

from frontier.errors import InputError, unknown_name
from moalign.training.losses import Loss, find_loss
from moalign.training.margins import parse_margin_scale
from moalign.training.steering_config import SteeringConfig

ROTATIONS = ("expected", "sampled")
_SMOOTHED = ("cdpo", "robust", "exo_pair")

# Options that would do nothing here, or something else than they do elsewhere; each with the values that mean "off".
LABEL_SOURCES = ("data", "reward")
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "use_weighting": (
        (False,),
        "it weighs pairs by the policy's probabilities, which changes the optimum that weights stand for",
    ),
    "ld_alpha": (
        (None, 1.0),
        "it discounts the tail of long completions, after which log-ratios are no longer those of the policy",
    ),
    "sync_ref_model": (
        (False,),
        "the reference is the base model, which must stay as it is for the weights to keep their meaning",
    ),
    "padding_free": ((False,), "each row of a batch has its own weights, which flattening would lose"),
    "activation_offloading": ((False,), "it is not supported; gradient_checkpointing saves memory"),
    "router_aux_loss_coef": (
        (None, 0.0),
        "the load-balancing loss of mixture-of-experts models is not added to the loss",
    ),
    "truncation_mode": (("keep_start",), "sequences are cut at their end"),
    "pad_to_multiple_of": ((None, "auto"), "sequences are padded to the longest of a batch"),
    "dataset_num_proc": ((None, 1), "pairs are tokenized once, by every process for itself"),
    "model_init_kwargs": ((None, {}), "load the model with them and pass it instead of its name"),
    "trust_remote_code": ((False,), "load the model with it and pass it instead of its name"),
    "normalize_rewards": ((False,), "margins are in nats of preference: see margin_scale"),
    "label_smoothing_factor": (
        (0.0,),
        "it belongs to classification; label_smoothing goes with loss_type cdpo, robust and exo_pair",
    ),
    "remove_unused_columns": ((False,), "pairs are not arguments of the model"),
}


@dataclass
class DirectConfig(SteeringConfig, DPOConfig):  # type: ignore[misc]
    """Configuration of the direct-alignment learner: TRL's `DPOConfig` plus the preference, the conditioning, the adapters and the margins."""

    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must be false: pairs are not arguments of the model."}
    )
    normalize_rewards: bool = field(
        default=False, metadata={"help": "Must be false: margins are brought to nats by margin_scale."}
    )
    rotation: str = field(
        default="expected",
        metadata={
            "help": "Which objective's label a pair trains: expected (all that it has, each by its weight) or sampled (one, drawn with its weight as probability).",
            "choices": ROTATIONS,
        },
    )
    min_weight: float = field(
        default=0.05,
        metadata={
            "help": "An objective with less weight is not trained on its labels (1 / w explodes), only counted in the others' margins."
        },
    )
    margin_scale: str = field(
        default="bradley_terry",
        metadata={
            "help": "Nats per unit of each reward: bradley_terry (measured on the labels), none (rewards are in nats), or numbers: helpful=1,brief=0.2."
        },
    )
    label_source: str = field(
        default="data",
        metadata={
            "help": "What a pair is trained to say: data (its labels) or reward (the Bradley-Terry probability of the scaled reward, free of the labels' noise).",
            "choices": LABEL_SOURCES,
        },
    )
    simpo_gamma: float = field(default=0.5, metadata={"help": "Target margin of loss_type simpo."})
    share_prompts: bool = field(
        default=True,
        metadata={
            "help": "Compute the prompt of a pair once for both completions, where the model allows it exactly. Off: a row for each completion."
        },
    )
    split_by_length: bool = field(
        default=True,
        metadata={"help": "Split a batch by length into a few forwards where that saves more padding than they cost."},
    )
    cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder for the reference's log-probs, which any run over the same base and pairs reads again. Default: moalign in HF_HOME (usually "
            "~/.cache/huggingface); 4 bytes per completion, never deleted. off: keep nothing. A folder given here also keeps the rewards, unless they come from elsewhere."
        },
    )
    gradient_aggregation: str | None = field(
        default=None,
        metadata={
            "help": "Combine the objectives' gradients (UPGrad, MGDA, CAGrad, PCGrad, ...) instead of adding their losses; the preference still weighs them."
        },
    )

    def __post_init__(self) -> None:
        for name, (off, why) in _REFUSED.items():
            if getattr(self, name) not in off:
                raise InputError(f"{name} cannot be used (found {getattr(self, name)}): {why}")
        if self.rotation not in ROTATIONS:
            raise unknown_name("rotation", self.rotation, ROTATIONS)
        if self.label_source not in LABEL_SOURCES:
            raise unknown_name("label_source", self.label_source, LABEL_SOURCES)
        if not 0 < self.min_weight <= 1:
            raise InputError(f"min_weight must be in (0, 1], found {self.min_weight}")
        if not self.beta > 0:
            raise InputError(f"beta must be positive, found {self.beta}")
        parse_margin_scale(self.margin_scale)
        self.settle()
        super().__post_init__()
        self.make_losses()

    def make_losses(self) -> list[tuple[Loss, float]]:
        """The losses that `loss_type` names, each with its weight.

        Raises:
            InputError: an unknown loss, or an option that none of them has.
        """
        names = list(self.loss_type)
        if self.label_smoothing and not set(names) & set(_SMOOTHED):
            raise InputError(
                f"label_smoothing goes with loss_type {', '.join(_SMOOTHED)}, found {', '.join(names)} (cdpo is sigmoid with it)"
            )
        found = [find_loss(name, **self._options_of(name)) for name in names]
        return list(zip(found, self.loss_weights or [1.0] * len(found), strict=True))

    def _options_of(self, name: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        # At 0 cdpo and exo_pair take their own default: without smoothing the one is sigmoid and the other infinite.
        if name == "robust" or (name in _SMOOTHED and self.label_smoothing):
            options["label_smoothing"] = self.label_smoothing
        if name == "discopop":
            options["tau"] = self.discopop_tau
        if name == "simpo":
            options["gamma"] = self.simpo_gamma
        if self.f_divergence_type != "reverse_kl":
            options["divergence"] = self.f_divergence_type
            if self.f_divergence_type == "alpha_divergence":
                options["alpha"] = self.f_alpha_divergence_coef
        return options
