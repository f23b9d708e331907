"""Mix several LoRA adapters per row of a batch, exactly: each row of a batch can ask for its own weights.

The policy at weights w is W0 + Σ_k w_k s_k B_k A_k. Because every row shares the same experts, the mixture of a whole batch costs two thin matrix
products a layer: all A_k stacked go down, a diagonal scale (the only thing that differs between rows) in the middle, all B_k stacked go up.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraConfig, LoraLayer
from torch import Tensor, nn
from torch.nn import functional

from frontier.errors import InputError

# A context variable and not an attribute of the layers: concurrent requests and threads each see their own weights (peft #804).
_ACTIVE: ContextVar[Mapping[int, "RowWeights"]] = ContextVar("moalign_row_weights", default=MappingProxyType({}))
_MIXTURES = itertools.count(1)


class RowWeights:
    """The weights of one open `AdapterMixture.steer` context, with what layers derive from them.

    Args:
        names (`tuple[str, ...]`): the K adapters.
        weights (`Tensor`): `[B, K]`, or `[1, K]` for the same weights in every row of any batch.
    """

    def __init__(self, names: tuple[str, ...], weights: Tensor) -> None:
        self.names = names
        self.weights = weights
        self._scales: dict[tuple[Any, ...], Tensor] = {}
        self._stacks: dict[int, tuple[Tensor, Tensor]] = {}

    def scale(self, experts: tuple[tuple[int, int, float], ...], x: Tensor, dtype: torch.dtype) -> Tensor:
        """The diagonal between the two thin products, `[rows of x, 1..., Σ r]`.

        Args:
            experts (`tuple`): of each expert of the layer: its column in the weights, its rank and its scaling s_k.
            x (`Tensor`): the layer's input, `[N, T, d]` or `[N, d]`; N is a multiple of B (beams, several sequences per prompt and flattened tokens
                all repeat a row in place, so the weights are repeated in the same way).
            dtype (`torch.dtype`): of the adapters.
        """
        key = (experts, x.shape[0], x.dim(), x.device, dtype)
        if key not in self._scales:
            rows = self.weights.shape[0]
            if x.shape[0] % rows:
                raise ValueError(
                    f"the batch has {x.shape[0]} rows, which is no multiple of the {rows} rows of weights given to steer()"
                )
            columns = [self.weights[:, k : k + 1].expand(-1, rank) * s for k, rank, s in experts]
            scale = torch.cat(columns, dim=1).to(device=x.device, dtype=dtype)
            if rows > 1:
                scale = scale.repeat_interleave(x.shape[0] // rows, dim=0)
            self._scales[key] = scale.view(scale.shape[0], *[1] * (x.dim() - 2), scale.shape[1])
        return self._scales[key]

    def stack(self, layer: "SteerableLinear", names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """All A_k of a layer as `[Σ r, d_in]` and all B_k as `[d_out, Σ r]`; kept for the life of the context where no gradient flows."""
        key = id(layer)
        if key in self._stacks and not torch.is_grad_enabled():
            return self._stacks[key]
        down = torch.cat([layer.down(name) for name in names], dim=0)
        up = torch.cat([layer.up(name) for name in names], dim=1)
        if not torch.is_grad_enabled():
            self._stacks[key] = (down, up)
        return down, up


class SteerableLinear(LoraLinear):
    """A PEFT LoRA layer whose adapters are mixed per row inside an `AdapterMixture.steer` context.

    `AdapterMixture` turns existing layers into this class in place; parameters, their names and saving stay PEFT's own.
    """

    mixture_id: int

    def down(self, name: str) -> nn.Parameter:
        """A of one adapter, `[r, d_in]`."""
        return cast("nn.Parameter", self.lora_A[name].weight)

    def up(self, name: str) -> nn.Parameter:
        """B of one adapter, `[d_out, r]`."""
        return cast("nn.Parameter", self.lora_B[name].weight)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`[N, T, d_in]` or `[N, d_in]` to the same with `d_out`: the base layer plus each row's own mixture of the experts.

        Raises:
            RuntimeError: outside a `steer` context (an unsteered forward would silently add up all adapters), or with merged adapters.
        """
        if self.disable_adapters:
            return super().forward(x, *args, **kwargs)
        if self.merged:
            raise RuntimeError("adapters are merged into the base weights: unmerge them before steering")
        active = _ACTIVE.get().get(self.mixture_id)
        if active is None:
            raise RuntimeError(
                "this model is steerable and no weights are set: call it inside `mixture.steer(weights)` "
                "(with gradient checkpointing: pass `mixture.checkpoint_context` as `context_fn`)"
            )
        result = self.base_layer(x, *args, **kwargs)
        present = [(k, name) for k, name in enumerate(active.names) if name in self.lora_A]
        experts = tuple((k, self.r[name], float(self.scaling[name])) for k, name in present)
        names = [name for _, name in present]
        if not names:  # touched only by adapters outside the mixture
            return result
        dtype = self.down(names[0]).dtype
        x = x.to(dtype)
        scale = active.scale(experts, x, dtype)
        if self.training and any(not isinstance(self.lora_dropout[name], nn.Identity) for name in names):
            # Each expert has its own dropout mask, as in PEFT, so their inputs differ and cannot share one product.
            parts = [self.lora_A[name](self.lora_dropout[name](x)) for name in names]
            up = torch.cat([self.up(name) for name in names], dim=1)
            delta = functional.linear(torch.cat(parts, dim=-1) * scale, up)
        else:
            down, up = active.stack(self, names)
            delta = functional.linear(functional.linear(x, down) * scale, up)
        return (result + delta).to(result.dtype)


class AdapterMixture:
    r"""K plain LoRA adapters of one `PeftModel`, mixed exactly and per row.

    $$ W(w) = W_0 + \sum_{k=1}^{K} w_k \, s_k B_k A_k $$

    where $A_k, B_k$ are the factors of adapter k and $s_k$ its scaling (α/r, or α/√r with rsLoRA). Ranks, scalings and target modules may differ
    between adapters; weights may be negative or zero. The parameter-space conditioning of CLP ([Wang et al., 2024](https://huggingface.co/papers/2407.15762)).

    Args:
        model (`PeftModel`): holds the adapters; its LoRA layers become `SteerableLinear` in place.
        names (`Sequence[str]`): the adapters in the order of the weights' columns.

    Raises:
        InputError: an adapter is missing, is no LoRA, or uses a variant whose mixture is not exact (DoRA, biases, embeddings, `modules_to_save`, ...).

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
            _check_config(model, name)
        self.id = next(_MIXTURES)
        self.layers: dict[str, SteerableLinear] = {}
        for path, module in cast("nn.Module", model.base_model.model).named_modules():
            if isinstance(module, LoraLayer):
                self.layers[path] = self._convert(path, module)
        if not self.layers:
            raise InputError(f"the adapters {', '.join(self.names)} touch no layer of the model")

    def _convert(self, path: str, module: LoraLayer) -> SteerableLinear:
        if type(module) not in (LoraLinear, SteerableLinear):
            kind = f"{type(module).__module__}.{type(module).__name__}"
            raise InputError(
                f"layer '{path}' carries a {kind}: only LoRA on linear layers can be mixed exactly per row"
            )
        variants = {name: type(v).__name__ for name, v in module.lora_variant.items() if name in self.names}
        if variants:
            raise InputError(
                f"layer '{path}' uses {variants}: such LoRA variants are not linear in their weight, so no mixture is exact"
            )
        # Changing the class keeps parameters, hooks and names as PEFT made them, and deepcopy and saving keep working.
        module.__class__ = SteerableLinear
        layer: SteerableLinear = module  # type: ignore[assignment]
        layer.mixture_id = self.id
        return layer

    @contextmanager
    def steer(self, weights: Tensor) -> Iterator[None]:
        """Inside the context every forward of the model uses these weights; nested contexts and other threads keep their own.

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
        token = _ACTIVE.set({**_ACTIVE.get(), self.id: RowWeights(self.names, weights)})
        try:
            yield
        finally:
            _ACTIVE.reset(token)

    def checkpoint_context(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """`context_fn` for non-reentrant gradient checkpointing: the recomputation, which may run in another thread, sees the forward's weights."""
        active = _ACTIVE.get().get(self.id)
        return nullcontext(), nullcontext() if active is None else self.steer(active.weights)

    def factors(self, path: str, weights: Sequence[float]) -> tuple[Tensor, Tensor] | None:
        """ΔW(w) of one layer as its exact factors: B `[d_out, R]`, already scaled by w_k s_k, and A `[R, d_in]`.

        Adapters of weight zero add no rank. `None` where no adapter of non-zero weight touches the layer.
        """
        layer = self.layers[path]
        used = [(name, w) for name, w in zip(self.names, weights, strict=True) if w != 0 and name in layer.lora_A]
        if not used:
            return None
        up = torch.cat([layer.up(name).detach() * (w * layer.scaling[name]) for name, w in used], dim=1)
        return up, torch.cat([layer.down(name).detach() for name, _ in used], dim=0)

    def parameters(self, name: str | None = None) -> list[nn.Parameter]:
        """The A and B matrices of one adapter, or of all K."""
        chosen = self.names if name is None else (name,)
        pairs = [(layer, n) for layer in self.layers.values() for n in chosen if n in layer.lora_A]
        return [p for layer, n in pairs for p in (layer.down(n), layer.up(n))]

    def train_adapters(self, names: Sequence[str] | None = None) -> None:
        """Let gradients reach these adapters (default: all K) and nothing else in the model."""
        self.model.requires_grad_(False)
        for name in self.names if names is None else names:
            for parameter in self.parameters(name):
                parameter.requires_grad_(True)


def _check_config(model: PeftModel, name: str) -> None:
    """Refuse, by name, whatever a weighted sum of low-rank products does not describe."""
    if name not in model.peft_config:
        raise InputError(f"the model has no adapter '{name}': it has {', '.join(model.peft_config)}")
    config = model.peft_config[name]
    if not isinstance(config, LoraConfig):
        raise InputError(f"adapter '{name}' is {config.peft_type}, only LoRA adapters can be mixed")
    refused = {
        "use_dora": config.use_dora,
        "lora_bias": config.lora_bias,
        "bias": config.bias != "none",
        "modules_to_save": bool(config.modules_to_save),
        "target_parameters": bool(config.target_parameters),
        "trainable_token_indices": bool(config.trainable_token_indices),
        "layer_replication": bool(config.layer_replication),
        # These initialisations move part of W0 into the adapter, so that two of them do not share one base.
        f"init_lora_weights={config.init_lora_weights}": str(config.init_lora_weights).startswith(
            ("pissa", "olora", "loftq", "corda", "lora_ga")
        ),
    }
    found = [field for field, used in refused.items() if used]
    if found:
        raise InputError(
            f"adapter '{name}' uses {', '.join(found)}, whose weighted sum is not W0 + Σ w·s·B·A: train it as plain LoRA"
        )
