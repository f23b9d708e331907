"""The plugin against vLLM's interface: stand-ins for what is documented of it, and the real classes where vllm can be imported."""

import asyncio
import tomllib
import types
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from moalign.serving import vllm_plugin
from moalign.serving.vllm.adapters import BundleAdapters, Unavailable

SERVE = ["vllm", "serve", "base", "--enable-lora", "--max-lora-rank", "16"]
NAME = "policy@helpful=0.7,brief=0.3"


@pytest.fixture
def started(monkeypatch, kept_bundle, tmp_path):
    """The environment of a server that was started rightly."""
    monkeypatch.setenv("MOALIGN_BUNDLES", f"policy={kept_bundle}")
    monkeypatch.setenv("MOALIGN_VLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    monkeypatch.setattr("sys.argv", SERVE)
    return monkeypatch


def test_registers_a_resolver_once(vllm, started):
    registry = vllm.resolver.LoRAResolverRegistry
    vllm_plugin.register()
    assert list(registry.get_supported_resolvers()) == ["moalign bundles"]
    resolver = registry.get_resolver("moalign bundles")
    assert isinstance(resolver, vllm.resolver.LoRAResolver)
    vllm_plugin.register()  # vLLM may call it more than once in a process
    assert registry.get_resolver("moalign bundles") is resolver


def test_does_nothing_unasked(vllm, started):
    started.delenv("MOALIGN_BUNDLES")
    vllm_plugin.register()
    assert not vllm.resolver.LoRAResolverRegistry.get_supported_resolvers()


def test_a_server_that_could_not_serve_is_not_started(vllm, started):
    started.setattr("sys.argv", [*SERVE[:-1], "8"])
    with pytest.raises(InputError, match=r"needs rank 10.*start vLLM with --enable-lora --max-lora-rank 16"):
        vllm_plugin.register()
    assert not vllm.resolver.LoRAResolverRegistry.get_supported_resolvers()


def test_a_bad_bundle_among_others_in_a_folder_is_left_out(vllm, started, bundle, tmp_path, caplog):
    (tmp_path / "root" / "bad").mkdir(parents=True)
    (tmp_path / "root" / "bad" / "steer.json").write_text("{}")
    bundle.rename(tmp_path / "root" / "good")
    started.setenv("MOALIGN_BUNDLES", str(tmp_path / "root"))
    vllm_plugin.register()
    assert "bundle 'bad' is not served" in caplog.text
    started.setenv("MOALIGN_BUNDLES", f"bad={tmp_path / 'root' / 'bad'}")
    with pytest.raises(InputError, match="schema_version"):
        vllm_plugin.register()


def test_resolves(vllm, settings, base):
    resolver = vllm_plugin.make_resolver(BundleAdapters(settings))
    found = asyncio.run(resolver.resolve_lora(base, NAME))
    assert isinstance(found, vllm.request.LoRARequest)
    assert found.lora_name == NAME
    assert 0 < found.lora_int_id < 2**63
    assert LoraFolder.read(found.lora_path).base == base


def test_unknown_bundles_are_left_to_other_resolvers(vllm, settings, base):
    resolver = vllm_plugin.make_resolver(BundleAdapters(settings))
    assert asyncio.run(resolver.resolve_lora(base, "somebody/elses-adapter")) is None


def test_malformed_weights_are_the_clients_mistake(vllm, settings, base, caplog):
    resolver = vllm_plugin.make_resolver(BundleAdapters(settings))
    with pytest.raises(vllm.exceptions.VLLMValidationError, match="did you mean 'helpful'"):
        asyncio.run(resolver.resolve_lora(base, "policy@helpfull=1"))
    assert "'policy@helpfull=1' was refused" in caplog.text


def test_many_names_at_once(vllm, settings, base):
    resolver = vllm_plugin.make_resolver(BundleAdapters(settings))
    names = [f"policy@helpful={i / 10},brief={(10 - i) / 10}" for i in range(11)] * 2

    async def ask():
        return await asyncio.gather(*(resolver.resolve_lora(base, name) for name in names))

    found = asyncio.run(ask())
    assert [request.lora_name for request in found] == names
    assert len({request.lora_path for request in found}) == len({request.lora_int_id for request in found}) == 11


def test_real_vllm_loads_exactly_our_adapter(real, settings, base, monkeypatch):
    """Its own reader of LoRA folders, on the CPU: B·A times its scaling is ours to float32."""
    config = real("vllm.config.lora").LoRAConfig(max_lora_rank=16)
    helper_of, reader = real("vllm.lora.peft_helper").PEFTHelper, real("vllm.lora.lora_model")
    monkeypatch.setattr(reader, "PIN_MEMORY", torch.cuda.is_available())  # there is nothing to pin it for
    resolver = vllm_plugin.make_resolver(BundleAdapters(settings))
    found = asyncio.run(resolver.resolve_lora(base, "policy@helpful=0.6,brief=0.3,warm=0.1"))
    helper = helper_of.from_local_dir(found.lora_path, 128)
    helper.validate_legal(config)
    ours = LoraFolder.read(found.lora_path)
    expected = {path.rpartition(".")[2] for path in ours.modules}
    loaded = reader.LoRAModel.from_local_checkpoint(
        found.lora_path, expected, helper, lora_model_id=found.lora_int_id, device="cpu", dtype=torch.float32
    )
    assert set(loaded.loras) == set(ours.modules)
    for path, layer in loaded.loras.items():
        assert_close(layer.lora_b @ layer.lora_a * layer.scaling, ours.delta(path), atol=1e-6, rtol=0)


def test_real_vllm_refuses_the_rank_that_we_refuse_at_start(real, settings, base):
    config = real("vllm.config.lora").LoRAConfig(max_lora_rank=8)
    helper_of = real("vllm.lora.peft_helper").PEFTHelper
    found = asyncio.run(vllm_plugin.make_resolver(BundleAdapters(settings)).resolve_lora(base, NAME))
    with pytest.raises(ValueError, match="LoRA rank 10 is greater than max_lora_rank"):
        helper_of.from_local_dir(found.lora_path, 128).validate_legal(config)


def test_real_vllm_serving_models_end_to_end(real, started, base):
    """The object behind its routes, with an engine that only notes what it is told to load."""
    serving, registry = real("vllm.entrypoints.openai.models.serving"), real("vllm.lora.resolver")
    exceptions = real("vllm.exceptions")
    started.setattr(registry.LoRAResolverRegistry, "resolvers", {})
    vllm_plugin.register()
    loaded = []

    async def add_lora(request):
        loaded.append((request.lora_int_id, request.lora_path))

    config = types.SimpleNamespace(model=base, max_model_len=128)
    engine = types.SimpleNamespace(model_config=config, renderer=None, input_processor=None, add_lora=add_lora)
    models = serving.OpenAIServingModels(engine, [serving.BaseModelPath(name="base", model_path=base)])

    async def ask():
        first = await models.resolve_lora(NAME)
        again = await models.resolve_lora(NAME)
        alias = await models.resolve_lora("policy@brief=0.3,helpful=0.7")
        unknown = await models.resolve_lora("nobody@helpful=1")
        with pytest.raises(exceptions.VLLMValidationError, match="must sum to 1"):
            await models.resolve_lora("policy@helpful=0.5")
        return first, again, alias, unknown

    first, again, alias, unknown = asyncio.run(ask())
    assert again is first
    assert alias.lora_path == first.lora_path
    assert len({number for number, _ in loaded}) == len(loaded) == 2  # its own numbers, one for each name
    assert unknown.error.code == 404


def test_real_vllm_answers_400_and_500(real):
    respond = real("vllm.entrypoints.serve").create_error_response
    refused = respond(vllm_plugin._client_error("found 'x'")).error
    assert (refused.code, refused.param) == (400, "model")
    assert "found 'x'" in refused.message
    assert respond(Unavailable("policy")).error.code == 500


def test_real_vllm_tells_requests_apart_by_name(real):
    """Why the resolver gives back the name that was asked for, not its snapped form: under one name two numbers would be one in a batch."""
    request = real("vllm.lora.request").LoRARequest
    one, two = request("a", 1, "/x"), request("a", 2, "/y")
    assert len({one, two}) == 1


def test_vllm_finds_the_plugin():
    content = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text(encoding="utf-8"))
    entry = content["project"]["entry-points"]["vllm.general_plugins"]["moalign"]
    assert entry == f"{vllm_plugin.__name__}:{vllm_plugin.register.__name__}"


def test_a_failure_is_an_error_of_the_server(vllm, settings, bundle, base):
    (bundle / "steer.json").write_text("{")
    resolver = vllm_plugin.make_resolver(BundleAdapters(settings))
    with pytest.raises(Unavailable):
        asyncio.run(resolver.resolve_lora(base, NAME))
