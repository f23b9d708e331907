"""Mix several LoRA adapters per row of a batch, exactly: each row of a batch can ask for its own weights.

The policy at weights w is W0 + Σ_k w_k ΔW_k, for plain LoRA ΔW_k = s_k B_k A_k. Because every row shares the same experts, the mixture of a whole batch costs two
thin matrix products a layer: all A_k stacked go down, a diagonal scale (the only thing that differs between rows) in the middle, all B_k stacked go up.

What each kind of adapter adds, and where its mixture is defined: `SteerableLinear` (LoRA, rsLoRA, `lora_bias` and DoRA on linear layers and on GPT-2's Conv1D),
`SteerableEmbedding` (LoRA and DoRA on the input embedding), `SteerableModule` (`modules_to_save`).
"""

from frontier.realize.adapters.embedding import SteerableEmbedding
from frontier.realize.adapters.linear import SteerableLinear
from frontier.realize.adapters.mixture import AdapterMixture
from frontier.realize.adapters.rows import RowWeights
from frontier.realize.adapters.saved import SteerableModule

__all__ = ["AdapterMixture", "RowWeights", "SteerableEmbedding", "SteerableLinear", "SteerableModule"]
