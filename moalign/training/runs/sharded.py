"""What several processes that each hold a part of a policy (FSDP2) or a copy of it (DDP) must know of it as a whole: its adapters and whose base they are for."""

from collections.abc import Iterable

from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.tensor import DTensor

from frontier.errors import InputError
from frontier.realize.export import base_tensors
from moalign.bundle import weights_digest
from moalign.policy import SteerablePolicy


def is_sharded(parameters: Iterable[Tensor]) -> bool:
    """Whether this process holds only a part of one of these tensors, or (on the `meta` device) none of its values."""
    return any(isinstance(parameter, DTensor) or parameter.is_meta for parameter in parameters)


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all processes; every process must ask at the same time."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered_adapters(policy: SteerablePolicy) -> dict[str, Tensor]:
    """All adapters of a sharded policy on the CPU, by their names in the model; the base, which no bundle holds, stays where it is.

    Args:
        policy (`SteerablePolicy`): every process must ask at the same time.
    """
    wanted = {id(parameter) for parameter in policy.mixture.parameters()}
    named = policy.model.named_parameters()
    return {name: whole(parameter.detach()).cpu() for name, parameter in named if id(parameter) in wanted}


def remember_base(policy: SteerablePolicy) -> None:
    """Take the digest of the base while each process still holds all of it, and see that it is the same one everywhere.

    Args:
        policy (`SteerablePolicy`): not yet sharded; its `base_digest` is set.

    Raises:
        InputError: the processes hold other weights, such as those of a model that only the first of them loaded.
    """
    if PartialState().num_processes == 1 or policy.base_digest is not None:
        return
    digest = weights_digest(base_tensors(policy.model).items())
    digests: list[str] = gather_object([digest])
    if len(set(digests)) > 1:
        raise InputError(
            f"the {len(digests)} processes hold {len(set(digests))} different base models (digests {', '.join(d[:12] for d in digests)}): each has to load "
            "all of it, for references are scored before it is sharded; set fsdp_cpu_ram_efficient_loading and zero3_init_flag to false"
        )
    policy.base_digest = digest
