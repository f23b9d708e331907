"""A loaded base that becomes one soup after another, with everything that sampling from a policy needs."""

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frontier.errors import InputError
from frontier.realize.soup import Experts, Soup, SoupedModel
from moalign.bundle import base_location, read_manifest, weights_digest
from moalign.conditioning.adapter_mixture import SHARED
from moalign.loading import load_base, load_tokenizer
from moalign.policy import SteerablePolicy

# What samples from a policy gives weights along: a row of these asks for the soup, a row of zeros for the base.
_ASKED = 1.0


class SoupPolicy(SteerablePolicy):
    """A base and experts over it; `become` makes it any soup of them, in place, and sampling then runs at the base's own speed.

    It samples and scores as every policy does (`moalign.evaluation.sample`), but is not steered by preferences: rows of weights mean the soup that it is now, a zero row the base.

    Args:
        model (`PreTrainedModel`): the base.
        tokenizer (`PreTrainedTokenizerBase`): the base's.
        experts (`Experts`): over the base.

    Raises:
        InputError: the experts change a tensor that the base does not have or has in another shape.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, experts: Experts) -> None:
        # The parent's state is about adapters that PEFT runs; here there are none.
        self.model = model  # type: ignore[assignment]
        self.tokenizer = tokenizer
        self.experts = experts
        self.digest = weights_digest(model.state_dict().items())
        self.souped = SoupedModel(model, experts)

    @property
    def base(self) -> PreTrainedModel:
        """The model, whatever soup it is now."""
        return self.model  # type: ignore[return-value]

    def become(self, soup: Soup | None) -> None:
        """Answer as this soup from now on; `None` is the base."""
        self.souped.become(soup)

    def use(self, soup: Soup | None) -> AbstractContextManager[Any]:
        """Be this soup inside the context."""
        return self.souped.use(soup)

    def asked(self, rows: int) -> Tensor:
        """`[rows, 1]` weights that ask for the soup."""
        return torch.full((rows, 1), _ASKED)

    def steer_rows(self, weights: Tensor) -> AbstractContextManager[None]:
        """The present soup, or the base where all weights are 0.

        Raises:
            ValueError: rows of both kinds, which one set of weights cannot answer.
        """
        asked = weights.ne(0).any(-1)
        if asked.all():
            return contextlib.nullcontext()
        if asked.any():
            raise ValueError("a batch must ask for the soup in all of its rows, or for the base in all of them")
        return self.souped.use(None)  # type: ignore[return-value]

    def encode(self, prompts: Sequence[Any], weights: Tensor | None = None) -> list[list[int]]:
        """Token ids of prompts, which say nothing of a preference."""
        return super().encode(prompts)


def soup_of_bundle(bundle: str | Path, *, base: str | Path | None = None, verify: bool = True) -> SoupPolicy:
    """A bundle's adapters as the experts of soups; one that they share is part of each.

    Args:
        bundle (`str` or `Path`): the folder.
        base (path, *optional*): where its base lies now, if it moved.
        verify (`bool`, *optional*, defaults to `True`): compare the digests of the adapters and of the base.

    Raises:
        InputError: the bundle is damaged, its base is another, or it is told its preference in the prompt, so that its adapters are no experts.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder, verify)
    told = (manifest.conditioning or {}).get("kind", "adapter_mixture")
    if told != "adapter_mixture" or len(manifest.objectives) < 2:
        raise InputError(
            f"bundle {folder} has no expert for each objective (conditioning {told}, objectives {', '.join(manifest.objectives)}): soups need 2 experts or more"
        )
    shared = folder / SHARED if SHARED in manifest.adapters and SHARED not in manifest.objectives else None
    experts = Experts.read({name: folder / name for name in manifest.objectives}, shared)
    location = str(base) if base is not None else base_location(manifest, folder)
    revision = manifest.base.revision if base is None else None
    policy = _load(location, experts, revision, f"bundle {folder} needs it")
    if verify and policy.model.dtype in (torch.float32, torch.bfloat16) and policy.digest != manifest.base.digest:
        raise InputError(
            f"{location} is not the base model of bundle {folder}: the digest of its weights is {policy.digest[:12]}…, not {manifest.base.digest[:12]}…"
        )
    return policy


def soup_of_folders(base: str | Path, experts: Mapping[str, str | Path]) -> SoupPolicy:
    """LoRA folders or finetuned models that were trained anywhere, as experts over their base.

    Args:
        base (`str` or `Path`): the model that all of them started from, a folder or a hub id.
        experts (`Mapping[str, path]`): name to folder or hub id, 2 or more.

    Raises:
        InputError: a folder is missing or broken, or does not fit the base.
    """
    return _load(str(base), Experts.read(experts))


def _load(location: str, experts: Experts, revision: str | None = None, why: str = "") -> SoupPolicy:
    options = {"revision": revision} if revision else {}
    model = load_base(location, "auto", why, **options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_tokenizer(location, revision or "main", why)
    model.to(device)  # type: ignore[arg-type]
    return SoupPolicy(model.eval(), tokenizer, experts)
