"""A general preference model in a folder: `general_preference.json`, weights as safetensors, and the transformer if it was fine-tuned."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from frontier.atomic import replace_folder
from frontier.errors import InputError, check_fields
from frontier.objectives import check_objectives
from reward_heads.general_preference.config import GeneralPreferenceConfig
from reward_heads.general_preference.model import FeatureSource, GeneralPreferenceModel
from reward_heads.general_preference.network import OutputEmbedding, PreferenceNetwork
from reward_heads.general_preference.transformer import TransformerOutputs
from reward_heads.model import TransformerReward
from reward_heads.probes.reference import EncoderReference

if TYPE_CHECKING:
    from reward_heads.general_preference.reward import GeneralPreferenceReward

FILE_NAME = "general_preference.json"
WEIGHTS = "preference.safetensors"
TRUNK = "trunk"
SCHEMA_VERSION = 1

_FIELDS = ("schema_version", "objectives", "config", "source", "prompt_width", "weights", "play")


def save_model(
    model: GeneralPreferenceModel, folder: str | os.PathLike[str], reward: "GeneralPreferenceReward | None" = None
) -> None:
    """Write the folder, whole or not at all; see [`GeneralPreferenceModel.save_pretrained`]."""
    trunk = model.source.reward if isinstance(model.source, TransformerOutputs) else None
    source = None if trunk is not None else _named(model.source)
    with replace_folder(folder) as beside:
        if trunk is not None:
            trunk.save_pretrained(beside / TRUNK)
            source = {"trunk": _digest(beside / TRUNK)}
            weights = None
        else:
            found = save_tensors({name: value.contiguous() for name, value in model.network.state_dict().items()})
            (beside / WEIGHTS).write_bytes(found)
            weights = hashlib.sha256(found).hexdigest()
        content = {
            "schema_version": SCHEMA_VERSION,
            "objectives": list(model.objectives),
            "config": asdict(model.network.config),
            "source": source,
            "prompt_width": model.network.prompt_width,
            "weights": weights,
            "play": None if reward is None else _play(reward),
        }
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        (beside / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def load_model(
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    source: FeatureSource | None = None,
) -> tuple[GeneralPreferenceModel, dict[str, Any] | None]:
    """The model of a folder, and the arguments of its reward if opponents were saved; see [`GeneralPreferenceModel.from_pretrained`]."""
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(f"no general preference model in {folder}: it has no {FILE_NAME}")
    try:
        content = _checked(json.loads(path.read_text(encoding="utf-8")))
        objectives = check_objectives(content["objectives"])
        config = GeneralPreferenceConfig(**content["config"])
        network: PreferenceNetwork | OutputEmbedding
        if "trunk" in content["source"]:
            if _digest(path.parent / TRUNK) != content["source"]["trunk"]:
                raise InputError(f"{TRUNK}/ is not the one that was saved with it: save the model again")
            reward = TransformerReward.from_pretrained(path.parent / TRUNK, device=device, batch_size=batch_size)
            source, network = TransformerOutputs(reward), OutputEmbedding(objectives, config)
        else:
            named = _reference(**content["source"])
            source = source or named.load(device, batch_size, argument="source")
            network = _network(path.parent / WEIGHTS, content, objectives, config)
            named.check(source)
        return GeneralPreferenceModel(source, network), _arguments(content["play"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: not what save_pretrained writes: {type(error).__name__}: {error}") from error


def _named(source: FeatureSource) -> dict[str, Any]:
    named = EncoderReference.of("preference model", source)
    return {"encoder": named.source, "fingerprint": named.fingerprint, "settings": named.settings}


def _reference(encoder: str, fingerprint: str, settings: Mapping[str, Any]) -> EncoderReference:
    return EncoderReference("preference model", encoder, fingerprint, settings)


def _network(
    path: Path, content: Mapping[str, Any], objectives: tuple[str, ...], config: GeneralPreferenceConfig
) -> PreferenceNetwork:
    if not path.is_file():
        raise InputError(f"{path.name} is missing beside it")
    found = path.read_bytes()
    if hashlib.sha256(found).hexdigest() != content["weights"]:
        raise InputError(f"{path.name} is not the one that was saved with it: save the model again")
    tensors = load_tensors(found)
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{path.name}: {name} is not finite")
    network = PreferenceNetwork(len(tensors["location"]), objectives, config, content["prompt_width"])
    network.load_state_dict(tensors)
    return network.eval()


def _play(reward: "GeneralPreferenceReward") -> dict[str, Any]:
    opponents = reward.opponents
    if isinstance(opponents, Mapping):
        kept: Any = {"by_prompt": [[prompt, list(texts)] for prompt, texts in opponents.items()]}
    else:
        assert not callable(opponents)
        kept = {"shared": list(opponents)}
    return {"opponents": kept, "weights": reward.weights, "scale": reward.scale}


def _arguments(play: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if play is None:
        return None
    kept = play["opponents"]
    opponents = dict(kept["by_prompt"]) if "by_prompt" in kept else kept["shared"]
    return {"opponents": opponents, "weights": play["weights"], "scale": play["scale"]}


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _checked(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}")
    check_fields(content, _FIELDS)
    return content
