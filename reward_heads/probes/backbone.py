"""Load the part of a transformer that makes hidden states, and know its width before its weights are read."""

import copy
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel
from transformers.utils import cached_file, logging

from frontier.errors import InputError
from reward_heads.truncation import usable_positions


def load_config(source: str | os.PathLike[str], layer: int | None = None) -> Any:
    """The configuration of a saved model, or of its first layers alone.

    Args:
        source (`str` or path): folder or hub id.
        layer (`int`, *optional*): how many layers are kept, from 1.

    Raises:
        InputError: there is none, it is an encoder-decoder, which has no single hidden state of a text, or it has fewer layers.
    """
    config = _load(AutoConfig, source)
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{source} is an encoder-decoder ('{config.model_type}'): embeddings need an encoder or a decoder"
        )
    if layer is not None:
        inner = config.get_text_config()
        if not 1 <= layer <= inner.num_hidden_layers:
            raise InputError(
                f"layer must be between 1 and {inner.num_hidden_layers}, the layers of {source}; found {layer}"
            )
        if getattr(inner, "layer_types", None):  # what kind each layer is, where they differ
            inner.layer_types = inner.layer_types[:layer]
        inner.num_hidden_layers = layer
    return config


def load_backbone(source: str, config: Any, dtype: str) -> Any:
    """The frozen model without heads, in evaluation mode; the global random state is left alone.

    Raises:
        InputError: no model there, or a weight that is missing or not finite.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # heads that are left behind are expected, what is missing is checked below
    try:
        with torch.random.fork_rng(devices=[]):
            arguments = {"config": config, "dtype": getattr(torch, dtype)}
            model, found = _load(AutoModel, source, **arguments, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)
    # An encoder's pooler comes after the last hidden state: masked language models are saved without one.
    missing = sorted(key for key in found["missing_keys"] if "pooler" not in key)
    if missing:
        raise InputError(f"{source} can't embed: it lacks {len(missing)} weights, the first is {missing[0]}")
    for name, weight in model.named_parameters():
        if "pooler" not in name and not weight.isfinite().all():
            raise InputError(f"{source}: the weight {name} is not finite")
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model.eval().requires_grad_(False)


def local_folder(source: str) -> Path:
    """Where the files of a folder or hub id lie on this machine; a hub id's configuration is fetched if it must be.

    Raises:
        InputError: there is no such model.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        config = cached_file(source, "config.json")
    except (OSError, ValueError) as error:
        raise _not_there(source, error) from error
    return Path(str(config)).parent


def width_of(config: Any, source: Any) -> int:
    """The length of a hidden state.

    Raises:
        InputError: the configuration doesn't say.
    """
    width = getattr(config.get_text_config(), "hidden_size", None)
    if not isinstance(width, int):
        raise InputError(f"{source}: the configuration of '{config.model_type}' names no hidden_size")
    return width


def positions_of(config: Any) -> int | None:
    """How many tokens a model of this configuration can read, before its weights are; `None` if there is no end, see `usable_positions`.

    Raises:
        InputError: transformers knows no model of this configuration.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = AutoModel.from_config(copy.deepcopy(config))
    except ValueError as error:
        raise _not_there(f"a configuration of '{config.model_type}'", error) from error
    return usable_positions(model)


def longest(config: Any, tokenizer: Any, positions: int | None) -> int:
    """The longest text that model and tokenizer allow, in tokens; 1024 if neither says, 4096 at most."""
    limits = [positions, getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length]
    # A tokenizer that knows no limit says 10^30.
    known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9]
    return min([*known, 4096]) if known else 1024


def _load(kind: Any, source: str | os.PathLike[str], **arguments: Any) -> Any:
    folder = Path(source)
    looks_like_a_path = folder.is_absolute() or str(source).startswith((".", "~")) or str(source).count("/") > 1
    if not folder.is_dir() and (looks_like_a_path or folder.exists()):
        raise InputError(f"no model folder at {source}")
    try:
        return kind.from_pretrained(source, **arguments)
    except (OSError, ValueError) as error:
        raise _not_there(source, error) from error


def _not_there(source: Any, error: Exception) -> InputError:
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return InputError(f"no encoder can be loaded from {source}: {reason}")
