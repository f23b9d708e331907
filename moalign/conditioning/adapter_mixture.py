"""Tell the policy its preference through its weights: one trainable LoRA per objective, mixed by the preference."""

import contextlib
import dataclasses
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel, set_seed

from frontier.errors import InputError
from frontier.objectives import check_objectives
from moalign.conditioning.base import Text

SHARED = "shared"


class MixtureConditioning:
    r"""One LoRA per objective at the preference's weights, and perhaps one that all of them share.

    $$ W(w) = W_0 + \sum_k w_k (\Delta_k + \Delta_{shared}) $$

    A shared adapter is what CLP leaves unconditioned ([Wang et al., 2024](https://huggingface.co/papers/2407.15762)): every expert contains it, so that it
    counts in full at weights on the simplex and not at all in the reference policy. Where the experts sit on the output layer alone the logits are mixed:
    z(w) = Σ_k w_k z_k.

    Args:
        objectives (`Sequence[str]`): the K objectives, each the name of its adapter.
        shared (`bool`, *optional*, defaults to `False`): there is an adapter named `shared` as well.

    Raises:
        InputError: an objective is called `shared` beside a shared adapter.
    """

    kind = "adapter_mixture"
    linear = True

    def __init__(self, objectives: Sequence[str], shared: bool = False) -> None:
        self.objectives = tuple(objectives)
        self.shared = bool(shared)
        if self.shared and SHARED in self.objectives:
            raise InputError(f"objective '{SHARED}' has the name of the shared adapter: rename it")
        self.adapters = (*self.objectives, SHARED) if self.shared else self.objectives

    def mixing(self, weights: Tensor) -> Tensor:
        """`[B, K]` to `[B, A]`: the weights themselves, and their sum for the shared adapter."""
        return torch.cat([weights, weights.sum(-1, keepdim=True)], -1) if self.shared else weights

    def prompts(self, prompts: Sequence[Text], weights: Tensor) -> list[Text]:
        """The prompts as they are."""
        return list(prompts)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": self.kind,
            "adapters": list(self.adapters),
            **({"shared": True} if self.shared else {}),
        }


def add_adapters(model: PreTrainedModel, adapters: Mapping[str, LoraConfig], seed: int = 0) -> PeftModel:
    """Put fresh LoRAs on a base model, one per name (parameter-space conditioning, CLP, [Wang et al., 2024](https://huggingface.co/papers/2407.15762)).

    Each adapter starts from its own random A and B = 0, so that the policy starts as the reference at every preference.

    Args:
        model (`PreTrainedModel`): the base; its layers are wrapped in place, as `peft.get_peft_model` does.
        adapters (`Mapping[str, LoraConfig]`): name, most often an objective's, to configuration.
        seed (`int`, *optional*, defaults to 0): of the random A.

    Raises:
        InputError: an objective cannot name an adapter, or is given twice.
    """
    check_objective_names(list(adapters))
    set_seed(seed)
    peft_model: PeftModel | None = None
    for name, config in adapters.items():
        own = dataclasses.replace(config)  # PEFT writes the resolved target modules into the config it is given
        with quiet_about_tied_layers():
            if peft_model is None:
                peft_model = get_peft_model(model, own, adapter_name=name)
            else:
                peft_model.add_adapter(name, own)
    assert peft_model is not None  # check_objective_names refuses an empty list
    return peft_model


@contextlib.contextmanager
def quiet_about_tied_layers() -> Iterator[None]:
    """Silence PEFT's warning that an adapter merged into a tied output layer would change the input embedding.

    Ours is mixed at run time, and its merged export unties the two.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings=True")
        yield


def check_objective_names(objectives: Sequence[str]) -> None:
    """Objectives name folders and modules, so they are kept to letters, digits, `_` and `-`.

    Raises:
        InputError: with the name and what is allowed.
    """
    for name in check_objectives(objectives):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in ("default", "ref"):
            raise InputError(
                f"objective '{name}' cannot name an adapter: allowed are letters, digits, '_' and '-', except the names 'default' and 'ref' "
                "that PEFT and TRL use themselves"
            )
        if "lora_" in name:
            raise InputError(
                f"objective '{name}' contains 'lora_', which PEFT uses to tell its parameters from the model's"
            )
