"""Name the encoder that something was fitted on instead of copying it, find it again, and refuse another one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from frontier.errors import InputError
from reward_heads.joining import Joining
from reward_heads.probes.embedder import Embedder


@dataclass(frozen=True)
class EncoderReference:
    """What a saved probe, gate or preference model says of its encoder.

    Args:
        what (`str`): what was fitted on it, for messages, such as `"probe"`.
        source (`str`): the encoder's folder or hub id.
        fingerprint (`str`): of its weights, tokenizer and settings.
        settings (`Mapping[str, Any]`): [`Embedder.settings`].
        width (`int`, *optional*): of its vectors, where that is known.
    """

    what: str
    source: str
    fingerprint: str
    settings: Mapping[str, Any]
    width: int | None = None

    @classmethod
    def of(cls, what: str, embedder: object) -> "EncoderReference":
        """That of an embedder.

        Raises:
            InputError: it was made from a model in memory, or is none of ours, so that there is nothing to name.
        """
        if not isinstance(embedder, Embedder) or embedder.source is None:
            raise InputError(
                f"a {what} is saved with the folder or hub id of its encoder, but this {type(embedder).__name__} has none: "
                "save the model and use Embedder.from_pretrained(folder)"
            )
        return cls(what, embedder.source, embedder.fingerprint, embedder.settings(), embedder.width)

    def load(
        self,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        cache: str | os.PathLike[str] | None = None,
        argument: str = "embedder",
    ) -> Embedder:
        """The embedder, from where it was.

        Args:
            device (*optional*): see [`Embedder.from_pretrained`].
            batch_size (`int`, *optional*, defaults to 64): the same.
            cache (`str` or path, *optional*): the same.
            argument (`str`, *optional*, defaults to `"embedder"`): what a caller can give instead, for messages.

        Raises:
            InputError: it is not there any more, or broken.
        """
        settings = dict(self.settings)
        join = settings.pop("join")
        settings["joining"] = Joining(join["conversational"], bool(join["append_eos"]))
        try:
            return Embedder.from_pretrained(self.source, **settings, device=device, batch_size=batch_size, cache=cache)
        except InputError as error:
            raise InputError(f"the encoder of this {self.what}: {error}; if it has moved, give {argument}=") from error

    def check(self, embedder: object) -> None:
        """Refuse an embedder whose vectors are not those of the fit.

        Raises:
            InputError: with both widths or fingerprints.
        """
        where = getattr(embedder, "source", None) or type(embedder).__name__
        width, fingerprint = getattr(embedder, "width", None), str(getattr(embedder, "fingerprint", None))
        if self.width is not None and width != self.width:
            raise InputError(
                f"the {self.what} was fitted on an encoder of width {self.width} ({self.source}), but {where} has width {width}"
            )
        if fingerprint != self.fingerprint:
            raise InputError(
                f"the {self.what} was fitted on the encoder with fingerprint {self.fingerprint[:16]} ({self.source}), but {where} has {fingerprint[:16]}: "
                f"its weights, tokenizer or settings have changed; fit the {self.what} anew"
            )
