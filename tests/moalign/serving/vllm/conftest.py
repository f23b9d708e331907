"""A bundle beside its base, settings over it, and vLLM's classes: the real ones, and stand-ins for their documented interface."""

import importlib
import shutil
import sys
import types
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import pytest

from moalign.policy import SteerablePolicy
from moalign.serving.vllm.settings import Settings


@pytest.fixture(scope="session")
def policy(tiny_base, plain_adapters, tmp_path_factory):
    root = tmp_path_factory.mktemp("vllm")
    shutil.copytree(tiny_base, root / "base")
    return SteerablePolicy.from_pretrained(root / "base", adapters=plain_adapters)


@pytest.fixture(scope="session")
def base(policy):
    return str(Path(policy.base.config.name_or_path))


@pytest.fixture(scope="session")
def kept_bundle(policy, base):
    """Read only."""
    folder = Path(base).parent / "bundle"
    policy.save_pretrained(folder)
    return folder


@pytest.fixture
def bundle(kept_bundle, tmp_path):
    """To be changed at will."""
    return Path(shutil.copytree(kept_bundle, tmp_path / "bundle"))


@pytest.fixture
def settings(bundle, tmp_path):
    return Settings({"policy": bundle}, cache=tmp_path / "cache", partitions=10)


@dataclass
class StandInRequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


class StandInResolver(ABC):
    @abstractmethod
    async def resolve_lora(self, base_model_name, lora_name): ...


class StandInRegistry:
    def __init__(self):
        self.resolvers = {}

    def get_supported_resolvers(self):
        return self.resolvers.keys()

    def register_resolver(self, resolver_name, resolver):
        self.resolvers[resolver_name] = resolver

    def get_resolver(self, resolver_name):
        return self.resolvers[resolver_name]


@pytest.fixture(params=["documented interface", "real vllm"])
def vllm(request, monkeypatch):
    """`resolver`, `request` and `exceptions` of vLLM, with an empty registry."""
    if request.param == "real vllm":
        why = "vllm is not installed: only its documented interface is tested"
        parts = {
            name: pytest.importorskip(f"vllm.{name}", reason=why)
            for name in ("lora.resolver", "lora.request", "exceptions")
        }
        monkeypatch.setattr(parts["lora.resolver"].LoRAResolverRegistry, "resolvers", {})
        return types.SimpleNamespace(
            resolver=parts["lora.resolver"], request=parts["lora.request"], exceptions=parts["exceptions"]
        )
    made = {name: types.ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.resolver", "vllm.lora.request")}
    made["vllm.exceptions"] = types.ModuleType("vllm.exceptions")
    made["vllm.lora.resolver"].LoRAResolver = StandInResolver
    made["vllm.lora.resolver"].LoRAResolverRegistry = StandInRegistry()
    made["vllm.lora.request"].LoRARequest = StandInRequest

    class VLLMValidationError(Exception):
        def __init__(self, message, *, parameter=None, value=None):
            super().__init__(message)

    made["vllm.exceptions"].VLLMValidationError = VLLMValidationError
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return types.SimpleNamespace(
        resolver=made["vllm.lora.resolver"], request=made["vllm.lora.request"], exceptions=made["vllm.exceptions"]
    )


@pytest.fixture
def real():
    """Imports a module of the installed vllm, or skips where it (or something that it needs) is missing."""

    def load(name):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"the real {name} cannot be imported here: {error}")

    return load
