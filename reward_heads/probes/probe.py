"""A vector reward of linear heads on frozen embeddings: fitted in seconds, it knows how sure it is."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from frontier.atomic import replace_folder
from frontier.errors import InputError, check_fields, unknown_name
from frontier.objectives import check_objectives
from reward_heads.normalizer import Normalizer
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.probes.heads import LinearHeads
from reward_heads.probes.reference import EncoderReference
from reward_heads.probes.report import HeadFit
from reward_heads.sidecar import TRAINING_KINDS
from reward_heads.text import Text

FILE_NAME = "probe.json"
SCHEMA_VERSION = 1

_FIELDS = ("schema_version", "objectives", "training", "units", "embedder", "heads", "fits")
_EMBEDDER_FIELDS = (
    "source",
    "fingerprint",
    "width",
    "pooling",
    "max_length",
    "truncation_side",
    "dtype",
    "layer",
    "join",
)


class ProbeReward:
    """A vector reward with one linear head per objective on the embedding of a text; made by [`fit_probe`].

    What a score is: see [`fit_probe`]; as with a [`TransformerReward`], nats after training on pairs, and after training on ratings standard deviations from the mean rating, with
    `units.inverse(scores)` in the ratings' own units.

    Args:
        embedder (`TextEmbedder`): texts to features.
        heads (`LinearHeads`): features to scores.
        units (`Normalizer`, *optional*): the ratings' location and scale.
        training (`str`, *optional*): `"pairs"`, `"ratings"` or `"pairs+ratings"`.
        fits (`Sequence[HeadFit]`, *optional*): how the heads came about.

    Raises:
        InputError: embedder and heads have different widths.
    """

    def __init__(
        self,
        embedder: TextEmbedder,
        heads: LinearHeads,
        *,
        units: Normalizer | None = None,
        training: str | None = None,
        fits: Sequence[HeadFit] = (),
    ) -> None:
        if embedder.width != heads.width:
            raise InputError(f"the heads read {heads.width} features, but the embedder gives {embedder.width}")
        self.embedder = embedder
        self.heads = heads
        self.objectives = heads.objectives
        self.units = None if units is None else units.select(heads.objectives)
        self.training = training
        self.fits = tuple(fits)

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`]."""
        return self.heads(self.embedder.embed(prompts, completions))

    def score_with_uncertainty(self, prompts: Sequence[Text], completions: Sequence[Text]) -> tuple[Tensor, Tensor]:
        """Scores `[B, K]` and their posterior standard deviations `[B, K]`, float32.

        The deviation is that of the head's score, the *expected* rating (a single rating scatters more), given that a linear head is right; ridge: exact for the chosen penalty;
        logistic: Laplace's approximation ([MacKay, 1992](https://doi.org/10.1162/neco.1992.4.5.720)). With pairs alone it is relative to the mean training completion, the zero of its scores.

        Raises:
            InputError: the batch does not pair up, or the heads were fitted with `uncertainty=False`.
        """
        return self.heads.with_uncertainty(self.embedder.embed(prompts, completions))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `heads.safetensors` and `probe.json`; the embedder is named, not copied.

        Raises:
            InputError: the embedder was made from a model in memory, so that there is nothing to name.
        """
        named = EncoderReference.of("probe", self.embedder)
        heads = save_tensors(self.heads.to_tensors())
        content = {
            "schema_version": SCHEMA_VERSION,
            "objectives": list(self.objectives),
            "training": self.training,
            "units": None if self.units is None else self.units.to_json(),
            "embedder": {
                "source": named.source,
                "fingerprint": named.fingerprint,
                "width": named.width,
                **named.settings,
            },
            "heads": hashlib.sha256(heads).hexdigest(),
            "fits": [fit.to_json() for fit in self.fits],
        }
        with replace_folder(folder) as beside:
            (beside / "heads.safetensors").write_bytes(heads)
            text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
            (beside / FILE_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        cache: str | os.PathLike[str] | None = None,
        embedder: TextEmbedder | None = None,
    ) -> "ProbeReward":
        """Load what `save_pretrained` wrote.

        Args:
            folder (`str` or path): with `probe.json`.
            device (*optional*): of the encoder, by default the CPU.
            batch_size (`int`, *optional*, defaults to 64): texts per forward pass.
            cache (`str` or path, *optional*): a folder of embeddings, see [`Embedder.from_pretrained`].
            embedder (`TextEmbedder`, *optional*): to use instead of the one that is named, such as the same encoder in another place.

        Raises:
            InputError: a file is missing, broken or of another save; or the encoder is not there, or not the one that the heads were fitted on.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise InputError(f"no probe in {folder}: it has no {FILE_NAME}")
        try:
            content = _checked(json.loads(path.read_text(encoding="utf-8")))
            objectives = check_objectives(content["objectives"])
            units = None if content["units"] is None else Normalizer.from_json(content["units"])
            fits = [HeadFit.from_json(fit) for fit in content["fits"]]
            heads = _heads(path.with_name("heads.safetensors"), content["heads"], objectives)
            named = _reference(**content["embedder"])
            if embedder is None:
                embedder = named.load(device, batch_size, cache)
            named.check(embedder)
            return cls(embedder, heads, units=units, training=content["training"], fits=fits)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (TypeError, ValueError, KeyError, AttributeError, SafetensorError) as error:
            raise InputError(f"{path}: not what save_pretrained writes: {type(error).__name__}: {error}") from error


def _checked(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}")
    for found, fields in ((content, _FIELDS), (content.get("embedder", {}), _EMBEDDER_FIELDS)):
        check_fields(found, fields)
    if content["training"] is not None and content["training"] not in TRAINING_KINDS:
        raise unknown_name("training", str(content["training"]), TRAINING_KINDS)
    return content


def _heads(path: Path, digest: str, objectives: Sequence[str]) -> LinearHeads:
    if not path.is_file():
        raise InputError(f"{path.name} is missing beside it")
    found = path.read_bytes()
    if hashlib.sha256(found).hexdigest() != digest:
        raise InputError(f"{path.name} is not the one that was saved with it: save the probe again")
    return LinearHeads.from_tensors(objectives, load_tensors(found))


def _reference(source: str, fingerprint: str, width: int, **settings: Any) -> EncoderReference:
    return EncoderReference("probe", source, fingerprint, settings, width)
