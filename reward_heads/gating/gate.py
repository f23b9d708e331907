"""How much each objective counts for a prompt."""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.gating.network import GateNetwork, check_embeddings
from reward_heads.gating.report import GateReport
from reward_heads.gating.rows import embed_distinct
from reward_heads.normalizer import Normalizer
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.text import Text


class Gate:
    """Prompts to weights of K objectives on the simplex; made by [`fit_gate_on_pairs`] or [`fit_gate_on_responses`].

    The weights are of rewards *normalised* by `normalizer` (of the rewards as they are where that is `None`), after all their transforms: as a preference, they mean what they say for a
    policy that was trained on normalised rewards of the same objectives.

    Args:
        network (`GateNetwork`): embeddings to log-weights.
        objectives (`Sequence[str]`): K names.
        embedder (`TextEmbedder`, *optional*): of prompts; `None` = embeddings only, see [`Gate.weights_of`].
        normalizer (`Normalizer`, *optional*): location and scale of the rewards.
        fitted_on (`str`, *optional*): `"pairs"` or `"responses"`.
        report (`GateReport`, *optional*): how it came about.

    Raises:
        InputError: K or the width of the embeddings don't fit the network.
    """

    def __init__(
        self,
        network: GateNetwork,
        objectives: Sequence[str],
        *,
        embedder: TextEmbedder | None = None,
        normalizer: Normalizer | None = None,
        fitted_on: str | None = None,
        report: GateReport | None = None,
    ) -> None:
        self.objectives = check_objectives(objectives)
        if network.output.out_features != len(self.objectives):
            raise InputError(
                f"the network has {network.output.out_features} outputs for {len(self.objectives)} objectives"
            )
        if embedder is not None and embedder.width != network.width:
            raise InputError(f"the gate reads {network.width} features, but the embedder gives {embedder.width}")
        self.network = network.eval().requires_grad_(False)
        self.embedder = embedder
        self.normalizer = None if normalizer is None else normalizer.select(self.objectives)
        self.fitted_on = fitted_on
        self.report = report

    @property
    def scale(self) -> float:
        """α > 0: nats per unit of the mixed score, for a gate that was fitted on pairs; 1 otherwise."""
        return float(self.network.log_scale.exp())

    def weights(self, prompts: Sequence[Text]) -> Tensor:
        """`[B, K]` float32 weights, not negative, each row summing to 1; a prompt that comes twice is embedded once.

        Raises:
            InputError: the gate has no embedder, or a prompt has the wrong form.
        """
        if isinstance(prompts, str):
            raise InputError("prompts must be a list of texts, found one string: write [text]")
        if self.embedder is None:
            raise InputError("this gate was fitted on embeddings and has no embedder: use weights_of(embeddings)")
        if not prompts:
            return torch.empty(0, len(self.objectives))
        return self.weights_of(embed_distinct(self.embedder, prompts)[0])

    def weights_of(self, embeddings: Tensor) -> Tensor:
        """`[B, d]` embeddings of prompts to `[B, K]` weights.

        Raises:
            InputError: the embeddings have another width or are not finite.
        """
        with torch.no_grad():
            return self.network(check_embeddings(embeddings, self.network.width)).exp()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `gate.json` and `gate.safetensors`, whole or not at all; the embedder is named, not copied. To keep the reward with it, save a [`GatedReward`].

        Raises:
            InputError: the embedder was made from a model in memory, so that there is nothing to name.
        """
        from reward_heads.gating.saved import save_gate

        save_gate(self, folder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        cache: str | os.PathLike[str] | None = None,
        embedder: TextEmbedder | None = None,
    ) -> "Gate":
        """Load the gate of a folder, with or without a reward beside it.

        Args:
            folder (`str` or path): with `gate.json`.
            device (*optional*): of the encoder, by default the CPU.
            batch_size (`int`, *optional*, defaults to 64): prompts per forward pass of the encoder.
            cache (`str` or path, *optional*): a folder of embeddings, see [`Embedder.from_pretrained`].
            embedder (`TextEmbedder`, *optional*): to use instead of the one that is named, such as the same encoder in another place.

        Raises:
            InputError: a file is missing, broken or of another save; or the encoder is not there, or not the one that the gate was fitted on.
        """
        from reward_heads.gating.saved import load_gate

        return load_gate(folder, device=device, batch_size=batch_size, cache=cache, embedder=embedder)
