"""Find the folder that a configuration's `model:` means: a path or a hub id, with `@revision`, with `+lora`."""

import os
from dataclasses import dataclass
from pathlib import Path

from frontier.errors import InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
# What a merge reads of a model on the hub; never its pickles.
WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py")


@dataclass(frozen=True)
class Reference:
    """What stands after `model:`, mergekit's form: `BASE`, `BASE@REVISION`, `BASE+LORA` (the adapter merged into the base), or a LoRA folder alone.

    Args:
        model (`str`): folder or hub id, with its revision.
        lora (`str`, *optional*): folder or hub id of the adapter.
    """

    model: str
    lora: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read the text form; a folder that exists under the whole name is that folder, whatever signs are in it.

        Raises:
            InputError: nothing on one side of the `+`, or more than one adapter.
        """
        if not text.strip():
            raise InputError("a model's name is empty")
        if "+" not in text or os.path.isdir(text):
            return cls(text)
        model, *loras = text.split("+")
        if len(loras) != 1 or not model or not loras[0]:
            raise InputError(f"model '{text}': expected a model, or one model and one adapter as MODEL+LORA")
        return cls(model, loras[0])

    def __str__(self) -> str:
        return self.model if self.lora is None else f"{self.model}+{self.lora}"


def find_folder(name: str) -> Path:
    """The folder of a model: a path that exists, else a download from the hub (or its cache), `name@revision` for another than the newest.

    Raises:
        InputError: no such folder, and the hub does not give it either.
    """
    if os.path.isdir(name):
        return Path(name)
    if os.path.isfile(name):
        raise InputError(f"model '{name}' is a file, expected its folder, or a hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = name.partition("@")
    try:
        found = snapshot_download(repository, revision=revision or None, allow_patterns=list(WANTED))
    except HFValidationError as error:
        raise InputError(f"model '{name}': no such folder") from error
    except Exception as error:  # offline, unknown, gated: the hub's library has a class for each
        reason = str(error).strip().splitlines()
        raise InputError(
            f"model '{name}': no such folder, and the hub has no such model or cannot be reached ({reason[0] if reason else type(error).__name__})"
        ) from error
    return Path(found)
