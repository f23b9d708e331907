"""Run decode steps as compiled code and CUDA graphs, where there is a GPU."""

import logging
from collections.abc import Callable
from typing import Any

import torch

from frontier.errors import InputError

logger = logging.getLogger(__name__)

# CUDA graphs are recorded per shape: the positions that a step reads are rounded up to this, and the mask hides the rest.
LENGTH_STEP = 256


def check_compile(device: torch.device) -> None:
    """Refuse a device for which decode steps can't be compiled.

    Raises:
        InputError: it is no CUDA GPU.
    """
    if device.type != "cuda":
        raise InputError(f"compile_decode: needs a CUDA GPU, and the policy is on '{device}': leave it off")


class CompiledModel:
    """Calls a model compiled; if compiling or running that fails, warns once and calls the model itself from then on.

    Args:
        model (`Callable`): as called for a decode step.
        compile (`Callable`, *optional*): makes it faster; by default `torch.compile` with CUDA graphs.
    """

    def __init__(self, model: Callable[..., Any], compile: Callable[[Any], Callable[..., Any]] | None = None) -> None:
        self._model = model
        self._fast = torch.compile(model, mode="reduce-overhead") if compile is None else compile(model)
        self.broken = False

    def __call__(self, **inputs: Any) -> Any:
        """What the model returns. A failed attempt may have written keys and values of this step: the second writes the same places."""
        if not self.broken:
            try:
                torch.compiler.cudagraph_mark_step_begin()
                return self._fast(**inputs)
            except Exception:
                logger.warning(
                    "compile_decode: this model can't be compiled here, decoding goes on without", exc_info=True
                )
                self.broken = True
        return self._model(**inputs)
