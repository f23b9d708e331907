"""A module that adapters carry whole copies of (`modules_to_save`), mixed per row through their outputs."""

from typing import Any, cast

import torch
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from frontier.realize.adapters.rows import row_weights

# Outputs are affine in the parameters, so that mixing outputs is mixing parameters.
AFFINE = (nn.Linear, Conv1D, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Conv1d, nn.Conv2d)


def is_affine_in_parameters(module: nn.Module) -> bool:
    """Whether a module's output, its input held still, is an affine function of its parameters; models write their own RMSNorm, known by its name."""
    if isinstance(module, nn.Embedding) and module.max_norm is not None:  # renormalises what is looked up
        return False
    return isinstance(module, AFFINE) or type(module).__name__.endswith("RMSNorm")


class SteerableModule(ModulesToSaveWrapper):
    r"""A module whose trained copies are mixed per row inside an `AdapterMixture.steer` context.

    $$ W = W_0 + \sum_k w_k (W_k - W_0) \quad\Rightarrow\quad y = y_0 + \sum_k w_k (y_k - y_0) $$

    where $W_k$ is adapter k's copy (an adapter without one adds nothing) and $y_k$ that copy's output. Mixing outputs is exact because the module's output
    is affine in its parameters; it costs one pass through each copy.
    """

    mixture_id: int

    def adapter_parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters of one adapter's copy."""
        return list(self.modules_to_save[name].parameters()) if name in self.modules_to_save else []

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """As the module's own, each row with its own mixture of the copies.

        Raises:
            RuntimeError: outside a `steer` context.
        """
        if self._disable_adapters:
            return cast("Tensor", self.original_module(*args, **kwargs))
        active = row_weights(self.mixture_id)
        result: Tensor = self.original_module(*args, **kwargs)
        mixed = whole = result.to(torch.promote_types(result.dtype, torch.float32))
        for k, name in enumerate(active.names):
            if name in self.modules_to_save:
                weight = active.scale(((k, 1, 1.0),), result.shape[0], result.dim(), result)
                mixed = mixed + weight * (self.modules_to_save[name](*args, **kwargs) - whole)
        return mixed.to(result.dtype)
