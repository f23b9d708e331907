"""K adapters of one model as one steerable whole: take a PEFT model over, open weights, hand out exact changes."""

import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Embedding as LoraEmbedding
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.utils import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import Tensor, nn

from frontier.errors import InputError
from frontier.realize.adapters.checks import check_config, check_embedding, check_saved, check_variants
from frontier.realize.adapters.embedding import SteerableEmbedding
from frontier.realize.adapters.linear import SteerableLinear
from frontier.realize.adapters.rows import RowWeights, open_row_weights, opened
from frontier.realize.adapters.saved import SteerableModule

_MIXTURES = itertools.count(1)
_STACKING = threading.Lock()


class _Steered(AbstractContextManager[None]):
    """A mixture under these weights, as often as it is entered."""

    def __init__(self, mixture: "AdapterMixture", weights: Tensor) -> None:
        self._mixture = mixture
        self._weights = weights
        self._open: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._open.append(self._mixture.steer(self._weights))
        self._open[-1].__enter__()

    def __exit__(self, *error: Any) -> None:
        self._open.pop().__exit__(*error)


class AdapterMixture:
    r"""K LoRA adapters of one `PeftModel`, mixed exactly and per row.

    $$ W(w) = W_0 + \sum_{k=1}^{K} w_k \, \Delta W_k, \qquad \Delta W_k = s_k B_k A_k $$

    where $A_k, B_k$ are the factors of adapter k and $s_k$ its scaling (α/r, or α/√r with rsLoRA). Ranks, scalings and target modules may differ
    between adapters; weights may be negative, zero or above 1. The parameter-space conditioning of CLP ([Wang et al., 2024](https://huggingface.co/papers/2407.15762)).
    What ΔW_k is for other kinds of adapters stands at `SteerableLinear` (`lora_bias`, DoRA), `SteerableEmbedding` and `SteerableModule` (`modules_to_save`):
    always the change that adapter k alone makes to the weights.

    Under `torch.compile` the weights are read of the thread that calls, not of its async task: do not await inside `steer` there.

    Args:
        model (`PeftModel`): holds the adapters; its LoRA layers become steerable in place.
        names (`Sequence[str]`): the adapters in the order of the weights' columns.

    Raises:
        InputError: an adapter is missing, is no LoRA, or is of a kind that cannot be mixed exactly; the message says why.

    Example:
        ```python
        mixture = AdapterMixture(peft_model, ["helpful", "brief"])
        with mixture.steer(torch.tensor([[0.7, 0.3], [0.0, 1.0]])):
            logits = peft_model(input_ids).logits  # row 0 mostly helpful, row 1 only brief
        ```
    """

    def __init__(self, model: PeftModel, names: Sequence[str]) -> None:
        self.model = model
        self.names = tuple(names)
        for name in self.names:
            check_config(model, name)
        self.id = next(_MIXTURES)
        self._holders = 0  # open `frozen` contexts
        # What an adapter touches, by its path in the base model: SteerableLinear, SteerableEmbedding or SteerableModule.
        self.layers: dict[str, Any] = {}
        base = cast("nn.Module", model.base_model.model)
        found = [(path, module) for path, module in base.named_modules()]
        for path, module in found:  # all checks before the first change
            self._check(path, module)
        for path, module in found:
            self._convert(path, module)
        if not self.layers:
            raise InputError(f"the adapters {', '.join(self.names)} touch no layer of the model")

    def _check(self, path: str, module: nn.Module) -> None:
        if isinstance(module, LoraLayer):
            check_variants(path, module, self.names)
            if isinstance(module, LoraEmbedding):
                check_embedding(self.model, path, module, module.get_base_layer())
        elif isinstance(module, AuxiliaryTrainingWrapper):
            check_saved(self.model, path, module)

    def _convert(self, path: str, module: nn.Module) -> None:
        """Changing the class keeps parameters, hooks and names as PEFT made them, and deepcopy and saving keep working."""
        layer: Any = module
        if isinstance(module, LoraLinear):
            layer.__class__ = SteerableLinear
            layer.frozen = None
            layer.routed = re.search(r"(^|\.)experts\.", path) is not None
        elif isinstance(module, LoraEmbedding):
            layer.__class__ = SteerableEmbedding
        elif isinstance(module, ModulesToSaveWrapper):
            layer.__class__ = SteerableModule
        else:
            return
        layer.mixture_id = self.id
        self.layers[path] = layer

    # ---- steering

    @contextmanager
    def steer(self, weights: Tensor) -> Iterator[None]:
        """Inside the context every forward of the model uses these weights; nested contexts and other threads keep their own.

        Without gradients the experts are stacked once for the life of the context, so a change of the adapters is seen by the next one.

        Args:
            weights (`Tensor`): `[B, K]`, one row per row of the batch, or `[1, K]` (or `[K]`) for all rows. A zero row is the reference policy.

        Raises:
            ValueError: the shape is wrong or a weight is not finite.
        """
        if weights.dim() == 1:
            weights = weights.unsqueeze(0)
        if weights.dim() != 2 or weights.shape[1] != len(self.names):
            raise ValueError(
                f"weights must be [B, {len(self.names)}] for {', '.join(self.names)}, found {tuple(weights.shape)}"
            )
        if not torch.isfinite(weights).all():
            raise ValueError(f"weights must be finite, found {weights.tolist()}")
        # Moved here, once: a copy to the GPU inside a compiled model would keep it from being one CUDA graph.
        with opened(self.id, RowWeights(self.names, weights.to(self.model.device))):
            yield

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, adapters on linear layers do not change, so that every `steer` context and compiled code reads one stack of them.

        For serving and for `torch.compile`; a training step inside would not be seen. Several contexts, of any threads and in any order, share the stack of
        the first until the last of them ends.

        Example:
            ```python
            with mixture.frozen():
                compiled = torch.compile(peft_model)
                with mixture.steer(weights):
                    logits = compiled(input_ids).logits
            ```
        """
        linear = [layer for layer in self.layers.values() if isinstance(layer, SteerableLinear)]
        with _STACKING:
            try:
                if not self._holders:
                    with torch.no_grad():
                        for layer in linear:
                            layer.frozen = layer.stack(self.names)
                self._holders += 1
            except BaseException:  # such as no memory for the last of them
                self._thaw(linear)
                raise
        try:
            yield
        finally:
            with _STACKING:
                self._holders -= 1
                self._thaw(linear)

    def _thaw(self, linear: "Sequence[SteerableLinear]") -> None:
        if not self._holders:
            for layer in linear:
                layer.frozen = None

    def checkpoint_context(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """`context_fn` for non-reentrant gradient checkpointing: the recomputation, which may run in another thread, sees the forward's weights.

        Every backward pass through the same forward recomputes it: several losses may share one.
        """
        active = open_row_weights(self.id)
        return nullcontext(), nullcontext() if active is None else _Steered(self, active.weights)

    # ---- exact changes

    def factors(self, path: str, weights: Sequence[float]) -> tuple[Tensor, Tensor] | None:
        """ΔW(w) of one linear layer as its exact factors: B `[d_out, R]`, already scaled by w_k s_k, and A `[R, d_in]`.

        Adapters of weight zero add no rank. `None` where no adapter of non-zero weight touches the layer.

        Raises:
            InputError: the layer's change is no product of two such factors (DoRA, `lora_bias`, an embedding, `modules_to_save`).
        """
        layer = self.layers[path]
        if not isinstance(layer, SteerableLinear):
            raise InputError(
                f"'{path}' is {'an embedding' if isinstance(layer, SteerableEmbedding) else 'a module in modules_to_save'}: "
                "what its adapters change is no B·A of a linear layer; a merged export holds it"
            )
        used = [(name, w) for name, w in zip(self.names, weights, strict=True) if w != 0 and name in layer.lora_A]
        if not used:
            return None
        for name, _ in used:
            if not layer.is_low_rank(name):
                kind = "DoRA" if name in layer.lora_variant else "lora_bias"
                raise InputError(
                    f"adapter '{name}' uses {kind} in '{path}': its change is not of low rank and no plain LoRA holds it; a merged export does"
                )
        up = torch.cat([layer.up(name).detach() * (w * layer.scaling[name]) for name, w in used], dim=1)
        return up, torch.cat([layer.down(name).detach() for name, _ in used], dim=0)

    # ---- training

    def parameters(self, name: str | None = None) -> list[nn.Parameter]:
        """All that one adapter, or all K, can train: A and B, and where it has them biases, DoRA magnitudes and the copies of `modules_to_save`."""
        chosen = self.names if name is None else (name,)
        return [p for layer in self.layers.values() for n in chosen for p in layer.adapter_parameters(n)]

    def train_adapters(self, names: Sequence[str] | None = None) -> None:
        """Let gradients reach these adapters (default: all K) and nothing else in the model."""
        self.model.requires_grad_(False)
        for name in self.names if names is None else names:
            for parameter in self.parameters(name):
                parameter.requires_grad_(True)
