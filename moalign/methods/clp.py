"""CLP: one policy whose LoRAs are mixed by the preference, trained at every preference at once."""

from dataclasses import dataclass, field

from moalign.training.online import OnlineConfig, OnlineTrainer


@dataclass
class CLPConfig(OnlineConfig):
    """Configuration of `CLPTrainer`: the online learner's, plus KL-mixing."""

    kl_mixing: bool = field(
        default=False,
        metadata={
            "help": "Sample the KL weight alpha per prompt as well, and mix the reference's weights in by alpha."
        },
    )
    alpha_min: float = field(default=0.05, metadata={"help": "Lower end of the sampled KL weight (kl_mixing)."})
    alpha_max: float = field(default=0.5, metadata={"help": "Upper end of the sampled KL weight (kl_mixing)."})


class CLPTrainer(OnlineTrainer):
    r"""Conditional Language Policy ([Wang et al., 2024](https://huggingface.co/papers/2407.15762)): linear scalarizer × adapter mixture × online RL.

    $$ \max_\theta E_{(\alpha, w)} E_x E_{y \sim \pi_\theta(\cdot|x; \alpha, w)} [ (1 - \alpha) w^\top r(x, y) - \alpha \log \pi_\theta / \pi_{ref} ],
       \quad \theta(\alpha, w) = \theta_{ref} + (1 - \alpha) \sum_k w_k \Delta_k $$

    where $w$ is drawn per prompt group from a Dirichlet, the *mixed* policy rolls out, and the gradient reaches each expert $\Delta_k$ scaled by its weight.
    Without `kl_mixing` the KL coefficient is the constant `beta` and the reward is not scaled by 1 − α.

    Deviations from the paper: the experts are LoRAs on linear layers instead of full copies of the (attention) parameters; the baseline is the leave-one-out
    mean of the prompt's group instead of a learned value; rewards are centred and scaled by the reference policy, so that weights share a unit.
    """

    method = "clp"
    paper = "https://huggingface.co/papers/2407.15762"

    @staticmethod
    def alpha_range(args: CLPConfig) -> tuple[float, float] | None:
        """The range of the sampled KL weight, with KL-mixing."""
        return (args.alpha_min, args.alpha_max) if args.kl_mixing else None
