"""Load what a policy is made of, the base model and its adapters, and say in one line what is wrong with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from frontier.errors import InputError
from moalign.bundle import is_bundle


def load_base(
    location: str | Path, dtype: torch.dtype | str = "auto", why: str = "", **model_kwargs: Any
) -> PreTrainedModel:
    """The base model, in its own dtype unless another is asked for.

    Args:
        location (`str` or `Path`): a folder or a hub id.
        dtype (*optional*, defaults to `"auto"`): of the weights.
        why (`str`, *optional*): what needs it, for the error.
        model_kwargs: passed to `AutoModelForCausalLM.from_pretrained`.

    Raises:
        InputError: it is a bundle, or cannot be loaded.
    """
    if is_bundle(location):
        raise InputError(f"{location} is a bundle, not a base model: leave out `adapters`, or name the model under it")
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(str(location), dtype=dtype, **model_kwargs)
    except (OSError, ValueError) as error:
        raise _cannot_load(location, why, error) from error
    return model


def load_tokenizer(location: str | Path | None, revision: str = "main", why: str = "") -> PreTrainedTokenizerBase:
    """The base model's tokenizer, which pads on the left as generation needs it.

    Raises:
        InputError: there is none.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(location), revision=revision, padding_side="left"
        )
    except (OSError, ValueError) as error:
        raise _cannot_load(location, why, error) from error
    return tokenizer


def attach_adapters(model: PreTrainedModel, adapters: Mapping[str, str | Path]) -> PeftModel:
    """Load every adapter beside the others with plain PEFT, and refuse values that are not finite.

    Args:
        model (`PreTrainedModel`): the base.
        adapters (`Mapping[str, path]`): at least one; name to PEFT folder.

    Raises:
        InputError: none is given, a folder holds no adapter, it does not fit the base, or a weight is not finite.
    """
    peft_model: PeftModel | None = None
    for name, path in adapters.items():
        if not (Path(path) / "adapter_config.json").is_file() and Path(path).exists():
            raise InputError(f"adapter '{name}': {path} is no PEFT folder: it has no adapter_config.json")
        try:
            if peft_model is None:
                peft_model = PeftModel.from_pretrained(model, str(path), adapter_name=name)
            else:
                peft_model.load_adapter(str(path), adapter_name=name)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"adapter '{name}': cannot load {path} over '{model.config.name_or_path}': {reason}"
            ) from error
    if peft_model is None:
        raise InputError("adapters is empty: name at least one objective and its adapter folder")
    for name, parameter in peft_model.named_parameters():
        if (".lora_" in name or ".modules_to_save." in name) and not torch.isfinite(parameter).all():
            raise InputError(f"adapter weight '{name}' holds values that are not finite")
    return peft_model


def _cannot_load(location: str | Path | None, why: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0]
    if not why:  # it was asked for by this name
        return InputError(
            f"cannot load the base model '{location}': {reason} Name a folder or a hub id that is reachable."
        )
    return InputError(
        f"cannot load the base model '{location}' ({why}): {reason} Name a folder or a hub id that is reachable with --base."
    )
