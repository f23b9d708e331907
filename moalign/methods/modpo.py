"""MODPO: DPO between several objectives, with what the other rewards say of a pair as a margin."""

from dataclasses import dataclass

from moalign.training.direct import DirectConfig, DirectTrainer


@dataclass
class MODPOConfig(DirectConfig):
    """Configuration of `MODPOTrainer`: the direct-alignment learner's. The paper trains with beta 0.1 and a learning rate of 5e-4, cosine, for 3 epochs."""


class MODPOTrainer(DirectTrainer):
    r"""Multi-Objective Direct Preference Optimization ([Zhou et al., ACL Findings 2024](https://huggingface.co/papers/2310.03708)).

    $$ L = -E \log \sigma \Big( \frac{\beta}{w_k} \big( h_\theta(y_+) - h_\theta(y_-) \big)
       - \frac{1}{w_k} w_{-k}^\top \big( r_{-k}(y_+) - r_{-k}(y_-) \big) \Big),
       \qquad h_\theta(y) = \log \frac{\pi_\theta(y|x)}{\pi_{ref}(y|x)} $$

    where $y_+$ is the completion that the label of objective k prefers, $w$ the weights and $r_{-k}$ the rewards of the other objectives. Labels that follow
    Bradley-Terry with $r_k$ have the optimum of online RL on $w^\top r$: $\pi \propto \pi_{ref} \exp(w^\top r / \beta)$.

    With `preference` and `conditioning="none"` it trains one model for one preference, as the paper does; a preference that names an objective which has labels
    but no reward is the paper's own setting. The default is one policy for all preferences.

    Deviations from the paper:
        - One steerable policy: a LoRA per objective mixed by weights that are drawn per row, where the paper trains a model per weight vector.
        - Every objective with labels takes its turn as k, in expectation (`rotation`), where the paper trains one throughout; objectives with little weight
          (`min_weight`) are left out as k, where the paper's 1 / w explodes.
        - Margins are scaled to nats by a Bradley-Terry fit on the labels (`margin_scale`), where the paper takes implicit rewards as they are and rules in their own unit.
        - Any reward gives margins, in float32; the paper's are implicit DPO rewards (`ImplicitReward`) and a rule on lengths that its code rounds to bfloat16.
        - Labels may be probabilities and ties; losses beside the logistic and the hinge are allowed.
        - Weights are on the simplex: the paper's length experiment uses (1, 0.1), which is here (0.909, 0.091) with β 0.0909 instead of 0.1.
        - LoRAs on every linear layer with rank 16 and alpha 32 (the paper's scripts: attention only, rank 64, alpha 1); the learning rate is 1e-4 (5e-4).
    """

    method = "modpo"
    paper = "https://huggingface.co/papers/2310.03708"
