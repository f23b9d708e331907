"""A gate in a folder: `gate.json`, `gate.safetensors`, and the reward that it gates in `reward-<digest>/` if that was saved with it."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from frontier.atomic import replace_folder
from frontier.errors import InputError, check_fields
from frontier.objectives import check_objectives
from reward_heads.ensemble.saved import load_part, place_parts, remove_old_parts, save_part
from reward_heads.gating.config import GateConfig
from reward_heads.gating.gate import Gate
from reward_heads.gating.network import GateNetwork
from reward_heads.gating.report import GateReport
from reward_heads.normalizer import Normalizer
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.probes.reference import EncoderReference

if TYPE_CHECKING:
    from reward_heads.gating.reward import GatedReward

FILE_NAME = "gate.json"
WEIGHTS = "gate.safetensors"
REWARD = "reward"
SCHEMA_VERSION = 1

_FIELDS = (
    "schema_version",
    "objectives",
    "fitted_on",
    "network",
    "weights",
    "normalizer",
    "embedder",
    "report",
    "reward",
)
_NETWORK = ("hidden", "dropout", "temperature")


def save_gate(gate: Gate, folder: str | os.PathLike[str], gated: "GatedReward | None" = None) -> None:
    """Write the folder; see [`Gate.save_pretrained`] and [`GatedReward.save_pretrained`]."""
    named = EncoderReference.of("gate", gate.embedder)
    tensors = {name: value.contiguous() for name, value in gate.network.state_dict().items()}
    weights = save_tensors(tensors)
    config = gate.network.config
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "objectives": list(gate.objectives),
        "fitted_on": gate.fitted_on,
        "network": {"hidden": list(config.hidden), "dropout": config.dropout, "temperature": config.temperature},
        "weights": hashlib.sha256(weights).hexdigest(),
        "normalizer": None if gate.normalizer is None else gate.normalizer.to_json(),
        "embedder": {
            "source": named.source,
            "fingerprint": named.fingerprint,
            "width": named.width,
            "settings": named.settings,
        },
        "report": None if gate.report is None else gate.report.to_json(),
        "reward": None,
    }
    with replace_folder(folder) as beside:
        if gated is not None:
            content["reward"] = {
                **save_part(gated.reward, beside, REWARD),
                "parts": gated.parts,
                "name": gated.name,
            }
        (beside / WEIGHTS).write_bytes(weights)
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        (beside / FILE_NAME).write_text(text + "\n", encoding="utf-8")
        place_parts(folder, beside, FILE_NAME)
    remove_old_parts(folder, REWARD, [] if content["reward"] is None else [content["reward"]["folder"]])


def read_gate(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of `gate.json`, its fields checked by name; loads nothing.

    Raises:
        InputError: there is none, or it is broken; names the file.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(f"no gate in {folder}: it has no {FILE_NAME}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}")
        check_fields(content, _FIELDS)
        check_fields(content["network"], _NETWORK)
        check_objectives(content["objectives"])
        return content
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: not what save_pretrained writes: {type(error).__name__}: {error}") from error


def load_gate(
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    cache: str | os.PathLike[str] | None = None,
    embedder: TextEmbedder | None = None,
) -> Gate:
    """Read the folder's gate; see [`Gate.from_pretrained`]."""
    content, path = read_gate(folder), Path(folder) / FILE_NAME
    try:
        named = EncoderReference("gate", **content["embedder"])
        network = _network(path.with_name(WEIGHTS), content, content["embedder"]["width"])
        if embedder is None:
            embedder = named.load(device, batch_size, cache)
        named.check(embedder)
        normalizer, report = content["normalizer"], content["report"]
        return Gate(
            network,
            content["objectives"],
            embedder=embedder,
            normalizer=None if normalizer is None else Normalizer.from_json(normalizer),
            fitted_on=content["fitted_on"],
            report=None if report is None else GateReport.from_json(report),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{path}: not what save_pretrained writes: {type(error).__name__}: {error}") from error


def load_gated_reward(
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    cache: str | os.PathLike[str] | None = None,
    embedder: TextEmbedder | None = None,
) -> "GatedReward":
    """Read gate and reward; see [`GatedReward.from_pretrained`]."""
    from reward_heads.gating.reward import GatedReward

    named, path = read_gate(folder)["reward"], Path(folder) / FILE_NAME
    if named is None:
        raise InputError(
            f"{path}: holds a gate without its reward: load it with Gate.from_pretrained, or save a GatedReward"
        )
    try:
        reward = load_part(path.parent, named, device, batch_size)
        parts, name = bool(named["parts"]), str(named["name"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, KeyError) as error:
        raise InputError(f"{path}: not what save_pretrained writes: {type(error).__name__}: {error}") from error
    gate = load_gate(folder, device=device, batch_size=batch_size, cache=cache, embedder=embedder)
    return GatedReward(reward, gate, parts=parts, name=name)


def _network(path: Path, content: Mapping[str, Any], width: int) -> GateNetwork:
    if not path.is_file():
        raise InputError(f"{path.name} is missing beside it")
    found = path.read_bytes()
    if hashlib.sha256(found).hexdigest() != content["weights"]:
        raise InputError(f"{path.name} is not the one that was saved with it: save the gate again")
    tensors = load_tensors(found)
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{path.name}: {name} is not finite")
    network = GateNetwork(width, len(content["objectives"]), GateConfig(**content["network"]))
    network.load_state_dict(tensors)
    return network
