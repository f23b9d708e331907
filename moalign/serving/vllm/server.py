"""Find out before a model is loaded whether vLLM was started so that it can serve a bundle: LoRA on, rank large enough, resolvers asked."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from frontier.errors import InputError
from moalign.exporting.servers import VLLM_RANKS, vllm_rank

MAX_RANK = "MOALIGN_VLLM_MAX_LORA_RANK"
ALLOW = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
SKIP = "VLLM_SKIP_MODEL_NAME_VALIDATION"
# What vLLM takes where it is not told.
DEFAULT_RANK = 16


@dataclass(frozen=True)
class Server:
    """What can be seen of the vLLM server that this process belongs to; a plugin is not shown its configuration.

    Args:
        serves (`bool`): this is `vllm serve`, or a process that it started with its arguments.
        lora (`bool`): `--enable-lora` was given.
        max_rank (`int`, *optional*): `--max-lora-rank`, or vLLM's default; `None` where nobody can tell, as in workers on other machines.
        asks (`bool`): `VLLM_ALLOW_RUNTIME_LORA_UPDATING` is set, without which vLLM never asks a resolver.
        skips (`bool`): `VLLM_SKIP_MODEL_NAME_VALIDATION` is set, with which the base answers under every name.
    """

    serves: bool
    lora: bool
    max_rank: int | None
    asks: bool
    skips: bool

    @classmethod
    def seen(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> "Server":
        """Read the command line (and the YAML file that its `--config` names).

        Args:
            arguments (`Sequence[str]`): `sys.argv`.
            environment (`Mapping[str, str]`): `MOALIGN_VLLM_MAX_LORA_RANK` says the rank where the command line does not show it.

        Raises:
            InputError: a rank that is no number.
        """
        module = arguments[0].replace("\\", "/").rpartition("/")[2] if arguments else ""
        serves = list(arguments[1:2]) == ["serve"] or module == "api_server.py"
        if any(argument in ("-h", "--help") or argument.startswith("--help=") for argument in arguments):
            serves = False
        flags = {**_from_file(_flags(arguments).get("config")), **_flags(arguments)}
        rank = environment.get(MAX_RANK) or flags.get("max-lora-rank") or (DEFAULT_RANK if serves else None)
        try:
            max_rank = None if rank is None else int(rank)
        except (TypeError, ValueError):
            raise InputError(f"max_lora_rank is {rank!r}, expected a whole number") from None
        return cls(
            serves, _on(flags.get("enable-lora")), max_rank, _on(environment.get(ALLOW)), _on(environment.get(SKIP))
        )

    def check(self, ranks: Mapping[str, int]) -> None:
        """Refuse to start a server on which requests could only fail, or be answered by the base.

        Args:
            ranks (`Mapping[str, int]`): by bundle, the largest rank that any of its adapters can have.

        Raises:
            InputError: with all flags and variables to set.
        """
        if not ranks:
            return
        name = max(ranks, key=ranks.__getitem__)
        rank = ranks[name]
        if rank > VLLM_RANKS[-1]:
            raise InputError(
                f"bundle '{name}' needs rank {rank}, the sum of its adapters' ranks, and vLLM takes at most {VLLM_RANKS[-1]}: "
                "export truncated adapters (moalign export --kind truncated --grid) and serve those"
            )
        if self.max_rank is not None and self.max_rank < rank:
            raise InputError(
                f"bundle '{name}' needs rank {rank}, the sum of its adapters' ranks, and max_lora_rank is {self.max_rank}: {flags_for(rank)}"
            )
        if self.serves and not self.lora:
            raise InputError(f"LoRA is off, so bundle '{name}' cannot be served: {flags_for(rank)}")
        if self.serves and not self.asks:
            raise InputError(f"vLLM asks for adapters only with {ALLOW}=1: set it, or unset MOALIGN_BUNDLES")
        if self.serves and self.skips:
            raise InputError(f"with {SKIP} the base model would answer in the place of every bundle: unset it")


def flags_for(rank: int) -> str:
    """What to start vLLM with: the rank is rounded up to one that it takes."""
    return f"start vLLM with --enable-lora --max-lora-rank {vllm_rank(rank)}"


def _flags(arguments: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    following = [*arguments[1:], "--"]
    for argument, after in itertools.pairwise(following):
        if not argument.startswith("--"):
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("_", "-")
        if name in ("max-lora-rank", "config"):
            found[name] = value if equals else after
        elif name in ("enable-lora", "no-enable-lora"):
            found["enable-lora"] = "true" if name == "enable-lora" else ""
    return found


def _from_file(path: str | None) -> dict[str, Any]:
    if path is None or not Path(path).is_file():
        return {}  # vLLM itself says what is wrong with it
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return {str(k).replace("_", "-"): v for k, v in content.items()} if isinstance(content, dict) else {}


def _on(value: Any) -> bool:
    return str(value or "").strip().lower() in ("1", "true")
