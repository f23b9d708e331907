"""Get a sequence-classification model with K outputs: from a saved one, or from a language model that has none yet."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from frontier.errors import InputError
from reward_heads.pooling import KEY_MAPPING, SAVED_PREFIX

# What a language model has and a reward model has not: loading leaves it behind without a word.
_LANGUAGE_HEADS = ("lm_head", "embed_out", "cls.", "output_projection", "generator_", SAVED_PREFIX)


def build_from_base(
    base: str | os.PathLike[str] | PreTrainedModel, objectives: Sequence[str], seed: int
) -> PreTrainedModel:
    """A float32 sequence-classification model with the backbone of `base` and new heads.

    Args:
        base (`str`, path or `PreTrainedModel`): a causal language model or a bare backbone.
        objectives (`Sequence[str]`): K names, one output each.
        seed (`int`): of the heads' weights; the global random state is left as it was.

    Raises:
        InputError: no model there, no sequence-classification form of it, or backbone weights that are missing.
    """
    labels = dict(enumerate(objectives))
    head = {
        "id2label": labels,
        "label2id": {name: index for index, name in labels.items()},
        "problem_type": "regression",
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(base, PreTrainedModel):
            config = copy.deepcopy(base.config)
            for field, value in head.items():
                setattr(config, field, value)
            model = _sequence_classifier(config)
            backbone = {name: weight.float() for name, weight in base.base_model.state_dict().items()}
            report = model.base_model.load_state_dict(backbone, strict=False)
            _check_backbone(type(base).__name__, report.missing_keys, report.unexpected_keys)
            return _with_new_heads(model, seed)
        config = _load(AutoConfig, base, **head)
        _sequence_classifier(
            config, on_meta=True
        )  # refuses an architecture without that form, before any weight is read
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # the expected warning, "some weights are newly initialized", is checked below instead
        try:
            model, found = _load(
                AutoModelForSequenceClassification,
                base,
                config=config,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, with both sizes
            )
        finally:
            logging.set_verbosity(verbosity)
    prefix = f"{model.base_model_prefix}."
    missing = [key for key in found["missing_keys"] if key.startswith(prefix)]
    unexpected = [key for key in found["unexpected_keys"] if not key.startswith(_LANGUAGE_HEADS)]
    # Heads of another number are left behind like any other head.
    _check_sizes(base, config, [entry for entry in found["mismatched_keys"] if entry[0].startswith(prefix)])
    _check_backbone(str(base), missing, unexpected)
    return _with_new_heads(model, seed)


def load_finite(
    path: str | os.PathLike[str], dtype: str | torch.dtype, *, mean_pooled: bool = False
) -> PreTrainedModel:
    """A saved sequence-classification model whose weights are all there, of the sizes that its configuration says, and finite.

    Args:
        path (`str` or path): a folder or a hub name.
        dtype (`str` or `torch.dtype`): of the weights.
        mean_pooled (`bool`): the weights outside the trunk were saved under the names of `reward_heads.pooling`.

    Raises:
        InputError: no model there, or a weight that is missing, of another size or not finite.
    """
    names = {"key_mapping": KEY_MAPPING} if mean_pooled else {}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what the report would warn of is refused here
    try:
        model, found = _load(
            AutoModelForSequenceClassification,
            path,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **names,
        )
    finally:
        logging.set_verbosity(verbosity)
    _check_sizes(path, model.config, found["mismatched_keys"])
    if found["missing_keys"]:
        missing, unexpected = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
        mean = any(key.startswith(SAVED_PREFIX) for key in unexpected)
        hint = (
            "it was saved with mean pooling, and its reward_heads.json is lost"
            if mean
            else "a language model without trained heads becomes a reward by TransformerReward.from_base"
        )
        raise InputError(f"{path}: the weight {missing[0]} is missing ({len(missing)} in all): {hint}")
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise InputError(f"{path}: the weight {name} is not finite")
    return model.eval()


def load_tokenizer(path: str | os.PathLike[str]) -> Any:
    """The tokenizer saved at `path`.

    Raises:
        InputError: there is none.
    """
    return _load(AutoTokenizer, path)


def _load(kind: Any, path: str | os.PathLike[str], **arguments: Any) -> Any:
    """`kind.from_pretrained`, with a message for people: transformers' own talks about the hub even for a mistyped folder."""
    folder = Path(path)
    looks_like_a_path = folder.is_absolute() or str(path).startswith((".", "~")) or str(path).count("/") > 1
    if not folder.is_dir() and (looks_like_a_path or folder.exists()):
        raise InputError(f"no model folder at {path}")
    try:
        return kind.from_pretrained(path, **arguments)
    except (OSError, ValueError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"no {_WHAT[kind]} can be loaded from {path}: {reason}") from error


def _sequence_classifier(config: Any, on_meta: bool = False) -> Any:
    try:
        with torch.device("meta" if on_meta else "cpu"):
            return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    except ValueError as error:
        raise InputError(
            f"the architecture '{config.model_type}' has no sequence-classification form in transformers"
        ) from error


def _with_new_heads(model: Any, seed: int) -> PreTrainedModel:
    """Draw the weights outside the backbone from the seed alone, so that a loaded base and its folder give the same heads."""
    generator = torch.Generator().manual_seed(seed)
    deviation = getattr(model.config.get_text_config(), "initializer_range", 0.02)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith(f"{model.base_model_prefix}."):
                continue
            if weight.dim() > 1:
                weight.normal_(0.0, deviation, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
    return model.eval()


def _check_sizes(path: str | os.PathLike[str], config: Any, mismatched: Sequence[tuple[str, Any, Any]]) -> None:
    """Refuse weights that are too wide or too narrow for the model, such as heads on an encoder of another hidden size."""
    if not mismatched:
        return
    name, saved, needed = sorted(mismatched, key=lambda entry: entry[0])[0]
    width = getattr(config.get_text_config(), "hidden_size", None)
    raise InputError(
        f"{path}: the weights do not fit config.json: {name} is saved as {list(saved)}, but a model of hidden size {width} with {config.num_labels} heads needs "
        f"{list(needed)} ({len(mismatched)} weights in all); was the encoder or its configuration exchanged?"
    )


def _check_backbone(base: str, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    # An encoder's pooler belongs to the head: masked language models are saved without one, bare encoders with one that some classifiers do without.
    missing, unexpected = ([key for key in keys if "pooler" not in key] for keys in (missing, unexpected))
    for what, keys in (("lacks", missing), ("has, beyond the backbone,", unexpected)):
        if keys:
            raise InputError(
                f"{base} can't become a reward model: it {what} {len(keys)} weights, the first is {sorted(keys)[0]}"
            )


_WHAT = {
    AutoConfig: "model configuration",
    AutoModelForSequenceClassification: "reward model",
    AutoTokenizer: "tokenizer",
}
