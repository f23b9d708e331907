"""CLP: one policy whose LoRAs are mixed by the preference, trained at every preference at once."""

from dataclasses import dataclass, field
from typing import Any

from frontier.errors import InputError, unknown_name
from moalign.training.online import OnlineConfig, OnlineTrainer

# What is conditioned: where every objective's LoRA goes, and where the one goes that all preferences share.
VARIANTS: dict[str, tuple[str, str | None]] = {
    "full": ("all-linear", None),
    "attention": ("attention", "not-attention"),
    "logits": ("output", "all-linear"),
}


@dataclass
class CLPConfig(OnlineConfig):
    """Configuration of `CLPTrainer`: the online learner's, plus what is conditioned and KL-mixing.

    Raises:
        InputError: an unknown variant, or settings that contradict it; KL-mixing without a KL term.
    """

    conditioned: str = field(
        default="full",
        metadata={
            "help": "Where the objectives' LoRAs go: full (all linear layers), attention (one shared LoRA on the rest) or logits (the output layer; one shared LoRA below).",
            "choices": tuple(VARIANTS),
        },
    )
    kl_mixing: bool = field(
        default=False,
        metadata={
            "help": "Sample the KL weight alpha per prompt as well, and mix the reference's weights in by alpha."
        },
    )
    alpha_min: float = field(default=0.05, metadata={"help": "Lower end of the sampled KL weight (kl_mixing)."})
    alpha_max: float = field(default=0.5, metadata={"help": "Upper end of the sampled KL weight (kl_mixing)."})

    def __post_init__(self) -> None:
        if self.conditioned not in VARIANTS:
            raise unknown_name("part to be conditioned", self.conditioned, VARIANTS)
        own, shared = VARIANTS[self.conditioned]
        default = VARIANTS["full"][0]
        if shared is None:
            if self.shared_target_modules is not None and self.conditioning == "adapter_mixture":
                raise InputError(
                    f"conditioned full has no shared adapter, found shared_target_modules {self.shared_target_modules}: "
                    "choose conditioned attention or logits, or leave shared_target_modules out"
                )
        else:
            if self.conditioning != "adapter_mixture":
                raise InputError(
                    f"conditioned {self.conditioned} says where each objective's adapter goes; conditioning {self.conditioning} has one adapter for all"
                )
            for name, found, wanted, unset in (
                ("lora_target_modules", self.lora_target_modules, own, default),
                ("shared_target_modules", self.shared_target_modules, shared, None),
            ):
                if found not in (wanted, unset):
                    raise InputError(
                        f"conditioned {self.conditioned} sets {name} to {wanted}, found {found}: give one or the other"
                    )
            self.lora_target_modules, self.shared_target_modules = own, shared
        if self.kl_mixing and not self.beta:
            raise InputError(
                "kl_mixing weighs the KL term by a sampled alpha, but beta 0 leaves the KL term out: with kl_mixing any other beta will do"
            )
        super().__post_init__()


class CLPTrainer(OnlineTrainer):
    r"""Conditional Language Policy ([Wang et al., 2024](https://huggingface.co/papers/2407.15762)): linear scalarizer × adapter mixture × online RL.

    $$ \max_\theta E_{(\alpha, w)} E_x E_{y \sim \pi_\theta(\cdot|x; \alpha, w)} [ (1 - \alpha) w^\top r(x, y) - \alpha \log \pi_\theta / \pi_{ref} ],
       \quad \theta(\alpha, w) = \theta_{ref} + (1 - \alpha) \sum_k w_k (\Delta_k + \Delta_{shared}) $$

    where $w$ is drawn per prompt group from a Dirichlet, the *mixed* policy rolls out, and the gradient reaches each expert $\Delta_k$ scaled by its weight.
    Without `kl_mixing` the KL coefficient is the constant `beta` and the reward is not scaled by 1 − α.

    The paper's variants, by `args.conditioned`: `"full"`, every expert on all linear layers and nothing shared; `"attention"`, experts on the attention
    layers, one shared adapter on the other linear layers; `"logits"`, experts on the output layer and one shared adapter on all layers below, so that for
    weights on the simplex the logits are mixed: $z(w) = \sum_k w_k z_k$. Its prompt-CLP is `args.conditioning = "prompt"`.

    Deviations from the paper: the experts are LoRAs on linear layers instead of full copies of the (attention) parameters, and what is shared is a LoRA too,
    which KL-mixing scales by 1 − α like the experts; the baseline is the leave-one-out mean of the prompt's group instead of a learned value; rewards are
    centred and scaled by the reference policy, so that weights share a unit.
    """

    method = "clp"
    paper = "https://huggingface.co/papers/2407.15762"
    args: CLPConfig

    @staticmethod
    def alpha_range(args: CLPConfig) -> tuple[float, float] | None:
        """The range of the sampled KL weight, with KL-mixing."""
        return (args.alpha_min, args.alpha_max) if args.kl_mixing else None

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training."""
        known = super().describe()
        if self.policy.conditioning.linear:
            known["conditioned"] = self.args.conditioned
        if self.args.kl_mixing:  # in place of one coefficient
            known["beta"] = f"alpha, sampled from [{self.args.alpha_min:g}, {self.args.alpha_max:g}]"
        return known
