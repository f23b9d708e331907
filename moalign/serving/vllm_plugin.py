r"""Serve a steerable policy with vLLM: the model name of a request carries its weights, `bundle@helpful=0.7,brief=0.3`.

A plugin (entry point `vllm.general_plugins`) that registers a `LoRAResolver`. vLLM asks it for every model name that it does not know; it answers with the exact
adapter at those weights: all experts' factors side by side, rank Σ r_k, written when first asked for and kept on the disk.

    export VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 MOALIGN_BUNDLES=policy=runs/policy
    vllm serve Qwen/Qwen3-8B --enable-lora --max-lora-rank 64 --max-loras 8
    curl 127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \
        -d '{"model": "policy@helpful=0.7,brief=0.3", "prompt": "Hello"}'

Weights are snapped to a lattice (`MOALIGN_VLLM_STEP`, 0.05). vLLM rounds the float32 factors to its `--lora-dtype`. examples/vllm_server/README.md has all settings, and the
commands for several devices and several machines. For any weights whatever in one batch, unsnapped, there is `moalign serve`.
"""

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.serving.vllm.settings import Settings

# The rest is imported where it is needed: vLLM loads this module in all its processes, also where there is nothing to serve.
if TYPE_CHECKING:
    from pathlib import Path

    from moalign.serving.vllm.adapters import BundleAdapters

NAME = "moalign bundles"
# A child of vLLM's own logger, so that what is said here stands in vLLM's log.
LOGGER = logging.getLogger("vllm.moalign")


def register() -> None:
    """Add the resolver to vLLM's registry, once the server is known to be able to serve the bundles; vLLM calls this in each of its processes.

    Does nothing where `MOALIGN_BUNDLES` is not set.

    Raises:
        InputError: a setting cannot be read, a bundle has no adapters at weights, or vLLM was started without what it needs; the message has the flags to set.
    """
    settings = Settings.from_environment()
    if settings is None:
        return
    check_start(settings)
    from vllm.lora.resolver import LoRAResolverRegistry

    from moalign.serving.vllm.adapters import BundleAdapters

    if NAME not in LoRAResolverRegistry.get_supported_resolvers():
        LoRAResolverRegistry.register_resolver(NAME, make_resolver(BundleAdapters(settings)))


def check_start(settings: Settings) -> None:
    """Refuse to start what could only fail later.

    Args:
        settings (`Settings`): the bundles; those of a folder of bundles that vLLM cannot serve are left out with a warning, named ones are refused.

    Raises:
        InputError: see `register`.
    """
    from moalign.serving.vllm.server import Server, flags_for

    ranks = {name: rank for name, folder in settings.bundles().items() if (rank := _rank(settings, name, folder))}
    Server.seen(sys.argv, os.environ).check(ranks)
    for name, rank in ranks.items():
        LOGGER.info("moalign: bundle '%s' needs rank %d: %s", name, rank, flags_for(rank))


def _rank(settings: Settings, name: str, folder: "Path") -> int:
    from moalign.serving.vllm.bundles import needed_rank

    try:
        return needed_rank(folder)
    except InputError as error:
        if name in settings.named:
            raise
        LOGGER.warning("moalign: bundle '%s' is not served: %s", name, error)
        return 0


def make_resolver(adapters: "BundleAdapters") -> Any:
    """An instance of vLLM's `LoRAResolver` over the adapters.

    Args:
        adapters (`BundleAdapters`): of the bundles.
    """
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver

    class BundleResolver(LoRAResolver):
        """Asked by vLLM, under a lock of the name, for each model name that it does not know; remembers its answers itself."""

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
            """The adapter of a name; `None` where it names no bundle of this base, which vLLM answers with 404.

            Raises:
                VLLMValidationError: malformed weights (400, with the message).
                Unavailable: a broken bundle or a full cache (500; the log says more).
            """
            try:
                # Reads and writes files, which would keep every other request waiting.
                found = await asyncio.to_thread(adapters.find, base_model_name, lora_name)
            except InputError as error:
                LOGGER.warning("moalign: model %r was refused: %s", lora_name, error)
                raise _client_error(str(error)) from error
            if found is None:
                return None
            # vLLM tells requests apart by this name and by a number of its own, so that the name stays the one that was asked for.
            return LoRARequest(lora_name=lora_name, lora_int_id=found.number, lora_path=str(found.folder))

    return BundleResolver()


def _client_error(message: str) -> Exception:
    try:
        from vllm.exceptions import VLLMValidationError
    except ImportError:  # an older release, which answers a ValueError with 400 as well
        return InputError(message)
    return VLLMValidationError(message, parameter="model")
