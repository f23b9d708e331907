"""How servers that take fixed adapters are started with a set of them: flags ready to paste."""

import shlex
from collections.abc import Mapping, Sequence

from frontier.errors import InputError

# vLLM allocates for one of these and takes no other number.
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Adapters in one batch: memory on the device grows with it, so that large sets are swapped.
IN_A_BATCH = 8


def vllm_rank(rank: int) -> int:
    """The least `--max-lora-rank` that vLLM takes and that is not below the rank; the rank itself beyond the largest."""
    return next((allowed for allowed in VLLM_RANKS if allowed >= rank), rank)


def server_flags(base: str, adapters: Mapping[str, str], rank: int, targets: Sequence[str]) -> dict[str, str]:
    """The command that starts each server with a set of adapters.

    Args:
        base (`str`): hub id or folder of the base model.
        adapters (`Mapping[str, str]`): name to folder.
        rank (`int`): the largest of any layer of any adapter.
        targets (`Sequence[str]`): last parts of the names of the modules that they change.

    Returns:
        `dict[str, str]`: by server: vLLM, SGLang, TGI, LoRAX.

    Raises:
        InputError: a name or a path holds a sign that the servers' own lists are cut at.
    """
    for name, path in adapters.items():
        if "=" in name + path or "," in name + path:
            raise InputError(f"adapter '{name}' at {path}: servers cut their lists of adapters at '=' and ','")
    count = len(adapters)
    pairs = [shlex.quote(f"{name}={path}") for name, path in adapters.items()]
    quoted = shlex.quote(base)
    broken = " \\\n    "
    first = next(iter(adapters.values()))
    request = '{"inputs": "Hello!", "parameters": {"adapter_id": "' + first + '", "adapter_source": "local"}}'
    return {
        "vLLM": broken.join(
            [
                f"vllm serve {quoted} --enable-lora --max-lora-rank {vllm_rank(rank)} --max-loras {min(count, IN_A_BATCH)} --max-cpu-loras {count}",
                "--lora-modules",
                *pairs,
            ]
        ),
        "SGLang": broken.join(
            [
                f"python -m sglang.launch_server --model-path {quoted} --enable-lora --max-lora-rank {rank} --max-loras-per-batch {min(count, IN_A_BATCH)}",
                f"--lora-target-modules {' '.join(targets)}",
                "--lora-paths",
                *pairs,
            ]
        ),
        "TGI": f"text-generation-launcher --model-id {quoted}{broken}--lora-adapters {','.join(pairs)}",
        "LoRAX": f"lorax-launcher --model-id {quoted} --adapter-source local\n"
        f"curl 127.0.0.1:3000/generate -H 'Content-Type: application/json' -d {shlex.quote(request)}",
    }
