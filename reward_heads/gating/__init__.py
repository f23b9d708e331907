"""What matters depends on what was asked: a gate reads the prompt and says how much each objective counts.

    from reward_heads.gating import GatedReward, fit_gate_on_pairs, fit_gate_on_responses
    gate = fit_gate_on_pairs(embedder, reward, pairs)  # ArmoRM: from which of two completions was better overall
    print(gate.report.table())  # held-out pairs: does it help, beside constant weights?
    gate.weights(["Write a haiku."])  # [1, K], on the simplex
    GatedReward(reward, gate).save_pretrained("gated")  # gate and reward (with its transforms) in one folder
    gate = fit_gate_on_responses(embedder, reward, preferred, normalizer)  # Preference Orchestrator: from responses that people liked

`moalign serve BUNDLE --gate gated` lets it choose for requests that bring no preference. The same fit on numbers, with rewards that count for one kind of prompt each:

    >>> import torch
    >>> from reward_heads.gating import GateConfig, fit_gate_on_differences
    >>> generator = torch.Generator().manual_seed(0)
    >>> kind = torch.randint(2, (2000,), generator=generator)
    >>> differences = torch.randn(2000, 2, generator=generator)
    >>> better = torch.sigmoid(4 * differences[torch.arange(2000), kind])
    >>> config = GateConfig(hidden=(16,), temperature=1.0, learning_rate=0.02, steps=200)
    >>> gate = fit_gate_on_differences(torch.eye(2)[kind], differences, better, ["facts", "style"], config=config)
    >>> gate.weights_of(torch.eye(2)).round(decimals=1).abs()
    tensor([[1., 0.],
            [0., 1.]])
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.gating.config import GateConfig
    from reward_heads.gating.constant import constant_weights
    from reward_heads.gating.gate import Gate
    from reward_heads.gating.pairs import fit_gate_on_differences, fit_gate_on_pairs
    from reward_heads.gating.report import GateReport
    from reward_heads.gating.responses import fit_gate_on_responses, fit_gate_on_rewards
    from reward_heads.gating.reward import GatedReward

_HOME = {
    "Gate": "gate",
    "GateConfig": "config",
    "GateReport": "report",
    "GatedReward": "reward",
    "constant_weights": "constant",
    "fit_gate_on_differences": "pairs",
    "fit_gate_on_pairs": "pairs",
    "fit_gate_on_responses": "responses",
    "fit_gate_on_rewards": "responses",
}

__all__ = [
    "Gate",
    "GateConfig",
    "GateReport",
    "GatedReward",
    "constant_weights",
    "fit_gate_on_differences",
    "fit_gate_on_pairs",
    "fit_gate_on_responses",
    "fit_gate_on_rewards",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.gating' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.gating.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
