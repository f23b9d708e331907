"""Keep what a model could do before alignment: merge every optimizer step with the change that made the reference model."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from frontier.errors import InputError, unknown_name

_KEY = "online_merging"


def reference_change(
    tuned: nn.Module | Mapping[str, Tensor], base: nn.Module | Mapping[str, Tensor]
) -> dict[str, Tensor]:
    r"""$\tau_\mathrm{ref} = \theta_\mathrm{tuned} - \theta_\mathrm{base}$ by parameter name, in float32: what supervised fine-tuning changed.

    Args:
        tuned (`nn.Module` or `Mapping[str, Tensor]`): the reference model (SFT), or its state dict.
        base (`nn.Module` or `Mapping[str, Tensor]`): what it was trained from.

    Raises:
        InputError: a tensor is missing in one of the two, or has another shape.
    """
    after = dict(tuned.named_parameters()) if isinstance(tuned, nn.Module) else dict(tuned)
    before = dict(base.named_parameters()) if isinstance(base, nn.Module) else dict(base)
    if odd := sorted(after.keys() ^ before.keys()):
        raise InputError(f"'{odd[0]}' is in only one of the tuned model and its base")
    for name, tensor in after.items():
        if tensor.shape != before[name].shape:
            raise InputError(
                f"'{name}' is {list(tensor.shape)} in the tuned model and {list(before[name].shape)} in its base"
            )
    return {name: (tensor.detach().float() - before[name].detach().float()) for name, tensor in after.items()}


class OnlineMerging(Optimizer):
    r"""What `OnDARE` and `OnTIES` share: run any optimizer, then merge its step with the reference's change
    ([Lu et al., 2024](https://huggingface.co/papers/2405.17931)).

    $$ \theta_t = \theta_{t-1} + (1 - \alpha)\, F(\Delta_t) \oplus \alpha\, F(\tau_\mathrm{ref}), \qquad \Delta_t = \theta_t^\mathrm{inner} - \theta_{t-1} $$

    $\Delta_t$ is the whole step of the inner optimizer, weight decay included (the published code decays after merging). A parameter without a gradient
    is left alone. Learning-rate schedulers, parameter groups, `accelerate` and data-parallel training see an ordinary optimizer; every process draws the
    same masks. Sharded parameters (FSDP, ZeRO-3) are refused.

    Memory beside the inner optimizer's: $\tau_\mathrm{ref}$ in the dtype given (off the accelerator with `offload`), and during a step (with `every` > 1:
    always) one copy of the trained parameters; with `compensate` one float32 copy more.

    **The published α of 1e-7 to 5e-7 does nothing by itself in float32, let alone bfloat16.** A weight of 0.02 cannot hold a change below 1e-9, and
    $\alpha\tau$ is about 1e-10: it is rounded away at every step. `compensate=True` carries the rounded part to the next step, so that it counts.

    Args:
        optimizer (`Optimizer`): the inner one; its state and groups are shared.
        reference (`Mapping[str, Tensor]`): $\tau_\mathrm{ref}$ by parameter name (`reference_change` of a pair of models).
        parameters (`Iterable[tuple[str, nn.Parameter]]`, *optional*): `model.named_parameters()`; not needed if the inner optimizer was made with names.
        alpha (`float`, *optional*, defaults to 5e-7): α in [0, 1].
        keep (`float`, *optional*, defaults to 0.01): share p of entries that F keeps, in (0, 1].
        every (`int`, *optional*, defaults to 1): merge the sum of this many inner steps at once (the paper's K).
        rescale (`bool`, *optional*, defaults to `False`): make up for what F drops; the paper does not, the published code does.
        compensate (`bool`, *optional*, defaults to `False`): see above.
        partial (`bool`, *optional*, defaults to `False`): parameters that the reference does not name have $\tau_\mathrm{ref} = 0$ instead of being refused.
        offload (`bool`, *optional*, defaults to `False`): leave $\tau_\mathrm{ref}$ where it was given and move one tensor at a time.
        seed (`int`, *optional*, defaults to 0): of the masks, which depend on it, the step and the parameter's position alone.

    Raises:
        InputError: a setting is out of range, a parameter has no name, or the reference lacks it or has another shape.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        reference: Mapping[str, Tensor],
        *,
        parameters: Iterable[tuple[str, nn.Parameter]] | None = None,
        alpha: float = 5e-7,
        keep: float = 0.01,
        every: int = 1,
        rescale: bool = False,
        compensate: bool = False,
        partial: bool = False,
        offload: bool = False,
        seed: int = 0,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha must be in [0, 1], found {alpha}")
        if not 0 < keep <= 1:
            raise InputError(f"keep must be in (0, 1], found {keep}")
        if every < 1:
            raise InputError(f"every must be at least 1, found {every}")
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer = optimizer
        self.settings: dict[str, Any] = {
            "alpha": alpha, "keep": keep, "every": every, "rescale": rescale, "compensate": compensate, "seed": seed
        }  # fmt: skip
        self.steps = 0
        self._given = reference
        self._partial, self._offload = partial, offload
        self._names = {id(p): name for name, p in parameters or ()}
        self._anchor: list[Tensor] | None = None
        self._residual: dict[int, Tensor] = {}
        self._reference: list[Tensor | None] = []
        self._link()
        for group in self.param_groups:
            self._adopt(group)

    def _link(self) -> None:
        """Share the inner optimizer's groups and state: schedulers write into one, the inner step reads the other."""
        self.param_groups = self.optimizer.param_groups
        self.state = self.optimizer.state

    def _adopt(self, group: Mapping[str, Any]) -> None:
        """Find τ_ref of every parameter of a group."""
        given = group.get("param_names") or [None] * len(group["params"])
        for p, own in zip(group["params"], given, strict=True):
            name = self._names.get(id(p), own)
            if name is None:
                raise InputError(
                    "a parameter has no name, so its part of the reference is unknown: pass parameters=model.named_parameters()"
                )
            self._reference.append(self._find(name, p))
            if self._anchor is not None:
                self._anchor.append(p.detach().clone())

    def _find(self, name: str, p: Tensor) -> Tensor | None:
        if name not in self._given:
            if self._partial:
                return None
            raise unknown_name("parameter of the reference change (partial=True takes it as 0)", name, self._given)
        tau = self._given[name].detach()
        # FSDP2 shards report the whole shape, but their entries lie on several processes.
        if tau.shape != p.shape or hasattr(p, "device_mesh"):
            raise InputError(
                f"the reference change of '{name}' is {list(tau.shape)}, the parameter {list(p.shape)} (sharded parameters are not supported)"
            )
        if not torch.isfinite(tau).all():
            raise InputError(f"the reference change of '{name}' holds NaN or infinite numbers")
        return self._prepare(tau)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the inner optimizer; its parameters must be among those named at the start, or come with names."""
        if (
            "optimizer" not in self.__dict__
        ):  # called by the constructor of torch, with groups that are the inner one's already
            super().add_param_group(param_group)
            return
        self.optimizer.add_param_group(param_group)
        self._adopt(self.optimizer.param_groups[-1])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the inner optimizer and, every `every` steps, the merge."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        if self._anchor is None:
            self._anchor = [p.detach().clone() for p in parameters]
        loss = self.optimizer.step(closure)
        self.steps += 1
        if self.steps % self.settings["every"]:
            return loss
        for index, (p, old) in enumerate(zip(parameters, self._anchor, strict=True)):
            if p.grad is not None or not torch.equal(p, old):
                self._merge_parameter(index, p, old)
        self._anchor = None
        return loss

    def _merge_parameter(self, index: int, p: Tensor, old: Tensor) -> None:
        wide = torch.promote_types(p.dtype, torch.float32)
        new, start = p.to(wide), old.to(wide)
        delta = new - start
        tau = self._tau(index, p)
        generator = torch.Generator(device=p.device).manual_seed(self._seed(index))
        kept, update = self._merge(delta, tau if tau is None else tau.to(wide), generator)
        # From where the inner step ended where it is kept, so that α = 0 gives back its very bits.
        origin = torch.where(kept, new, start)
        change = update - torch.where(kept, delta, 0.0)
        change = change + self._residual.get(index, 0.0)
        p.copy_(origin + change)
        if self.settings["compensate"]:
            self._residual[index] = change - (p.to(wide) - origin)

    def _tau(self, index: int, p: Tensor) -> Tensor | None:
        tau = self._reference[index]
        if tau is None or tau.device == p.device:
            return tau
        moved = tau.to(p.device)
        if not self._offload:
            self._reference[index] = moved
        return moved

    def _seed(self, index: int) -> int:
        """Independent masks for every step and parameter, with no generator state to keep."""
        key = f"{self.settings['seed']}/{self.steps}/{index}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1

    @abstractmethod
    def _prepare(self, tau: Tensor) -> Tensor:
        """What to keep of a reference change, before training."""

    @abstractmethod
    def _merge(self, delta: Tensor, tau: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where Δ survives (bool), and (1−α)F(Δ) ⊕ αF(τ)."""

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's, and under `online_merging` what resuming needs: settings, steps, and the anchor and residual if there are.

        τ_ref itself is not in it (it is given again), only its norm, to notice another one.
        """
        own = {
            "method": type(self).__name__,
            "settings": dict(self.settings),
            "steps": self.steps,
            "reference_norm": self._reference_norm(),
            "anchor": self._anchor,
            "residual": dict(self._residual),
        }
        return {**self.optimizer.state_dict(), _KEY: own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: settings come from it, as learning rates do in every optimizer.

        Raises:
            InputError: it was saved by another optimizer or with another reference.
        """
        own = state_dict.get(_KEY)
        found = "a plain optimizer" if own is None else own["method"]
        if own is None or found != type(self).__name__:
            raise InputError(f"this state was saved by {found}, not by {type(self).__name__}")
        norm = self._reference_norm()
        if not math.isclose(norm, own["reference_norm"], rel_tol=1e-4, abs_tol=1e-30):
            raise InputError(
                f"the state was saved with another reference change: its norm was {own['reference_norm']}, found {norm}"
            )
        self.optimizer.load_state_dict({key: value for key, value in state_dict.items() if key != _KEY})
        self._link()
        self.settings, self.steps = dict(own["settings"]), own["steps"]
        parameters = [p for group in self.param_groups for p in group["params"]]
        anchor, residual = own["anchor"], own["residual"]
        # Copies, or the next step would write into the caller's dictionary.
        self._anchor = anchor and [old.to(p.device, copy=True) for old, p in zip(anchor, parameters, strict=True)]
        self._residual = {index: rest.to(parameters[index].device, copy=True) for index, rest in residual.items()}

    def _reference_norm(self) -> float:
        return math.hypot(*(float(tau.double().norm()) for tau in self._reference if tau is not None))


class OnDARE(OnlineMerging):
    r"""Online merging by random dropping: F keeps each entry with probability p, ⊕ adds. See `OnlineMerging` for the formula and the arguments.

    $\mathbb{E}[\theta_t] = \theta_{t-1} + p\,((1 - \alpha)\Delta_t + \alpha\,\tau_\mathrm{ref})$. Fresh masks for both at every step (the published code
    draws that of $\tau_\mathrm{ref}$ once for all, so that most entries never feel it).

    `rescale=True` is what the published code does, unsaid, to $\tau_\mathrm{ref}$: survivors are multiplied by 1/p and clamped to ±`clamp`; here
    to $\Delta$ too.

    Args:
        clamp (`float`, *optional*, defaults to 1.0): largest absolute value of a rescaled entry.
    """

    def __init__(
        self, optimizer: Optimizer, reference: Mapping[str, Tensor], *, clamp: float = 1.0, **options: Any
    ) -> None:
        if not clamp > 0:
            raise InputError(f"clamp must be positive, found {clamp}")
        super().__init__(optimizer, reference, **options)
        self.settings["clamp"] = clamp

    def _prepare(self, tau: Tensor) -> Tensor:
        return tau

    def _merge(self, delta: Tensor, tau: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        alpha = self.settings["alpha"]
        kept = self._mask(delta, generator)
        update = torch.where(kept, self._scaled(delta), 0.0) * (1 - alpha)
        if tau is not None and alpha > 0:
            update += torch.where(self._mask(tau, generator), self._scaled(tau), 0.0) * alpha
        return kept, update

    def _mask(self, like: Tensor, generator: torch.Generator) -> Tensor:
        mask = torch.empty(like.shape, dtype=torch.bool, device=like.device)
        return mask.bernoulli_(self.settings["keep"], generator=generator)

    def _scaled(self, tensor: Tensor) -> Tensor:
        if not self.settings["rescale"]:
            return tensor
        return (tensor / self.settings["keep"]).clamp(-self.settings["clamp"], self.settings["clamp"])


class OnTIES(OnlineMerging):
    r"""Online merging by magnitude: F keeps the largest p·n entries of each tensor, ⊕ elects a sign per entry and adds those that have it.

    Two elections are in use and differ much, since $\tau_\mathrm{ref}$ is a thousand times larger than a step and α a millionth:

    - `"weighted"`: the sign of $(1-\alpha)F(\Delta) + \alpha F(\tau_\mathrm{ref})$, as the formula reads; the step nearly always wins.
    - `"unweighted"`: the sign of $F(\Delta) + F(\tau_\mathrm{ref})$, a sum of zero counting as positive, as the published code does; the
      reference nearly always wins and blocks steps against it.

    `rescale=True` gives what F keeps the L1 norm of what it was given. See `OnlineMerging` for the formula and the other arguments.

    Args:
        elect (`str`, *optional*, defaults to `"weighted"`): the election.
    """

    def __init__(
        self, optimizer: Optimizer, reference: Mapping[str, Tensor], *, elect: str = "weighted", **options: Any
    ) -> None:
        if elect not in ("weighted", "unweighted"):
            raise unknown_name("election", elect, ["weighted", "unweighted"])
        super().__init__(optimizer, reference, **options)
        self.settings["elect"] = elect

    def _prepare(self, tau: Tensor) -> Tensor:
        return self._largest(tau.float()).to(tau.dtype)  # F of a constant is a constant

    def _largest(self, tensor: Tensor) -> Tensor:
        count = max(1, int(self.settings["keep"] * tensor.numel()))
        if count >= tensor.numel():
            return tensor
        flat = tensor.flatten()
        chosen = flat.abs().topk(count, sorted=False).indices
        kept = torch.zeros_like(flat).index_copy_(0, chosen, flat[chosen])
        if self.settings["rescale"] and bool(kept.any()):
            kept = kept * (flat.abs().sum() / kept.abs().sum())
        return kept.view_as(tensor)

    def _merge(self, delta: Tensor, tau: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        alpha = self.settings["alpha"]
        own = self._largest(delta)
        if tau is None or alpha == 0:
            # No reference, no election. A step of zero is kept too: it is what the inner optimizer left.
            return (own != 0) | (delta == 0), own * (1 - alpha)
        mine, other = own * (1 - alpha), tau * alpha
        elected = mine + other if self.settings["elect"] == "weighted" else (own + tau >= 0) * 2.0 - 1.0
        mine, other = (torch.where(part.sign() == elected.sign(), part, 0.0) for part in (mine, other))
        return mine != 0, mine + other
