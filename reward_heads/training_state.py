"""What a checkpoint must hold beside an ordinary model's files, so that training goes on exactly where it stopped."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from frontier.atomic import replace_file
from frontier.errors import InputError

FILE_NAME = "training_parameters.safetensors"


def write_parameters(folder: str | os.PathLike[str], parameters: Mapping[str, Tensor]) -> None:
    """Write them into `folder`, whole or not at all; nothing where there are none."""
    if not parameters:
        return
    kept = {name: weight.detach().cpu().contiguous() for name, weight in parameters.items()}
    with replace_file(Path(folder) / FILE_NAME) as beside:
        save_file(kept, beside)


def read_parameters(folder: str | os.PathLike[str], parameters: Mapping[str, Tensor]) -> None:
    """Put what [`write_parameters`] wrote back, in place.

    Raises:
        InputError: the file is missing, or is one of another training.
    """
    if not parameters:
        return
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(f"{folder}: no {FILE_NAME}, so this is no checkpoint of a training with these settings")
    saved = load_file(path)
    for name, weight in parameters.items():
        found = list(saved[name].shape) if name in saved else None
        if found != list(weight.shape):
            raise InputError(
                f"{path}: {name} must be {list(weight.shape)}, found {found or 'nothing'}: it is of a training with other settings or another model"
            )
    with torch.no_grad():
        for name, weight in parameters.items():
            weight.copy_(saved[name])


def check_sizes(folder: str | os.PathLike[str], model: PreTrainedModel) -> None:
    """Refuse a checkpoint of a model of another size.

    Raises:
        InputError: a weight has another shape; names it with both sizes.
    """
    path = Path(folder) / "model.safetensors"
    if not path.is_file():  # in several files, or none: the Trainer says what is wrong
        return
    needed = {name: list(weight.shape) for name, weight in model.state_dict().items()}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            shape = list(file.get_slice(name).get_shape())
            if shape != needed.get(name, shape):
                raise InputError(
                    f"{path}: {name} is {shape}, but the model to go on with has {needed[name]}: the checkpoint is of an encoder of another size"
                )
