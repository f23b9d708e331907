"""Turn texts into vectors with a frozen encoder or decoder, once: length-sorted batches, and a cache on disk."""

import copy
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.joining import Joining
from reward_heads.loading import load_tokenizer
from reward_heads.model import TransformerReward
from reward_heads.probes import backbone as backbones
from reward_heads.probes.disk_cache import EmbeddingCache, text_hash
from reward_heads.probes.fingerprint import (
    FileHashes,
    fingerprint,
    has_weights,
    state_digest,
    tokenizer_digest,
    weight_files,
)
from reward_heads.sidecar import Sidecar
from reward_heads.text import Text, check_same_length
from reward_heads.truncation import usable_positions

POOLINGS = ("mean", "last", "first")
SIDES = ("left", "right")
DTYPES = ("float32", "bfloat16", "float16")

# Texts tokenized at a time, and how long computed vectors may wait to be written: what a killed process loses at most.
_BLOCK_BATCHES = 64
_WRITE_SECONDS = 5.0
_FILE_HASHES = FileHashes()


@runtime_checkable
class TextEmbedder(Protocol):
    """Anything that turns texts into vectors; its numbers for a text never change while `fingerprint` doesn't."""

    @property
    def width(self) -> int:
        """The length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Equal only for embedders that give equal vectors."""

    def embed(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[N, width]` float32 on the CPU."""

    def embed_prompts(self, prompts: Sequence[Text]) -> Tensor:
        """`[N, width]` float32 on the CPU."""


class Embedder:
    """A frozen transformer whose pooled last hidden state is the vector of a text.

    Prompt and completion become one text by the rule that a [`TransformerReward`] uses (`reward_heads.joining`): the prompt followed by the completion, a chat template,
    or one line `role: content` per message. A sentence encoder (BERT and its kin) reads that as one passage between its own special tokens; put the space or
    line break that should stand between the two at the end of the prompt. Such encoders are made for mean pooling (`"mean"`) or their first token (`"first"`); a
    decoder's first token has seen nothing else, so use `"last"` or `"mean"` there. Vectors are not normalised to length 1.

    The weights are loaded when a text is not in the cache, not before.

    Attributes: `width`; `fingerprint`; `source` (folder or hub id, `None` if made from a model in memory); `truncated`, how many of the distinct texts of all calls so far were longer
    than `max_length` tokens; `computed` and `cached`, how many were run through the model or found on disk.

    Make one with [`Embedder.from_pretrained`] or [`Embedder.from_reward`].
    """

    def __init__(
        self,
        source: str | None,
        config: Any,
        tokenizer: Any,
        *,
        pooling: str = "mean",
        max_length: int | None = None,
        truncation_side: str = "left",
        batch_size: int = 64,
        device: str | torch.device | None = None,
        cache: str | os.PathLike[str] | None = None,
        joining: Joining | None = None,
        dtype: str = "float32",
        layer: int | None = None,
        model: Any = None,
    ) -> None:
        choices = (
            ("pooling", pooling, POOLINGS),
            ("truncation_side", truncation_side, SIDES),
            ("dtype", dtype, DTYPES),
        )
        for what, found, allowed in choices:
            if found not in allowed:
                raise unknown_name(what, str(found), allowed)
        for what, value in (("batch_size", batch_size), ("max_length", max_length)):
            if value is not None and value < 1:
                raise InputError(f"{what} must be at least 1, found {value}")
        self.source = source
        self.config = config
        self.width = backbones.width_of(config, source)
        self.tokenizer = copy.deepcopy(tokenizer)
        self.tokenizer.padding_side = (
            "right"  # see TransformerReward: the same for encoders, decoders and absolute positions
        )
        self.tokenizer.truncation_side = truncation_side
        if self.tokenizer.pad_token is None:
            if self.tokenizer.eos_token is None:
                raise InputError("the tokenizer has neither a padding nor an end token: set tokenizer.pad_token")
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.pooling = pooling
        self.dtype = dtype
        self.layer = layer
        positions = backbones.positions_of(config) if model is None else usable_positions(model)
        if max_length is not None and positions is not None and max_length > positions:
            raise InputError(
                f"max_length must be at most {positions}, the positions that {source or 'the model'} has; found {max_length}"
            )
        self.max_length = max_length or backbones.longest(config, self.tokenizer, positions)
        self.batch_size = batch_size
        self.device = torch.device(device or "cpu")
        self.joining = joining or Joining.for_tokenizer(self.tokenizer)
        self.truncated = self.computed = self.cached = 0
        self._folder = None if cache is None else Path(cache)
        self._cache: EmbeddingCache | None = None
        self._model = model
        self._fingerprint: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        pooling: str = "mean",
        max_length: int | None = None,
        truncation_side: str | None = None,
        batch_size: int = 64,
        device: str | torch.device | None = None,
        cache: str | os.PathLike[str] | None = None,
        joining: Joining | None = None,
        dtype: str = "float32",
        layer: int | None = None,
    ) -> "Embedder":
        """Use a saved encoder, decoder, or the trunk of a saved reward model (whose joining, longest text and truncation side are the defaults then).

        Args:
            source (`str` or path): a folder or hub id that `AutoModel` can load.
            pooling (`str`, *optional*, defaults to `"mean"`): over the last hidden states of a text's tokens: `"mean"`, `"last"` or `"first"`.
            max_length (`int`, *optional*): longest text in tokens, by default what model and tokenizer allow (1024 if they don't say, 4096 at most); never more than a table of positions has.
            truncation_side (`str`, *optional*, defaults to `"left"`): where a text that is too long is cut; `"left"` keeps the completion.
            batch_size (`int`, *optional*, defaults to 64): texts per forward pass.
            device (*optional*): of the model, by default the CPU. Vectors of another device are the same up to float rounding and share the cache.
            cache (`str` or path, *optional*): a folder that keeps vectors between runs, see [`EmbeddingCache`].
            joining (`Joining`, *optional*): how prompt and completion become one text, by default what suits the tokenizer.
            layer (`int`, *optional*): use the first so many layers only, as if the model ended there; by default all. The last layers of an encoder that was trained to tell topics
                apart have forgotten how a text is written: for ratings of quality, try half of them, which costs half as much.
            dtype (`str`, *optional*, defaults to `"float32"`): of weights and computation: `"float32"`, `"bfloat16"` or `"float16"`; vectors are float32.

        Raises:
            InputError: no model there, or one that can't embed (encoder-decoder, adapter, weights missing or not finite); a setting is out of range.
        """
        sidecar = Sidecar.read(Path(source))
        config = backbones.load_config(source, layer)
        if sidecar is not None:
            joining = joining or sidecar.joining
            max_length = max_length or min(sidecar.max_length, backbones.positions_of(config) or sidecar.max_length)
            truncation_side = truncation_side or sidecar.truncation_side
        name = str(Path(source).resolve()) if Path(source).is_dir() else str(source)
        return cls(
            name,
            config,
            load_tokenizer(source),
            pooling=pooling,
            max_length=max_length,
            truncation_side=truncation_side or "left",
            batch_size=batch_size,
            device=device,
            cache=cache,
            joining=joining,
            dtype=dtype,
            layer=layer,
        )

    @classmethod
    def from_reward(
        cls, reward: TransformerReward, *, pooling: str = "mean", cache: str | os.PathLike[str] | None = None
    ) -> "Embedder":
        """Use a copy of the trunk of a reward model in memory, with the model's own joining, truncation and device. Training the reward further does not change it.

        A probe on it can't be saved, because no file holds its weights: save the reward first and use [`Embedder.from_pretrained`] on its folder.
        """
        model = copy.deepcopy(reward.model.base_model).float().eval().requires_grad_(False)
        return cls(
            None,
            model.config,
            reward.tokenizer,
            pooling=pooling,
            max_length=reward.max_length,
            truncation_side=reward.tokenizer.truncation_side,
            batch_size=reward.batch_size,
            device=reward.model.device,
            cache=cache,
            joining=reward.joining,
            model=model,
        )

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over weights, configuration, tokenizer and every setting that changes a vector; the same in any process and after moving the folder."""
        if self._fingerprint is None:
            hashes = _FILE_HASHES if self._folder is None else FileHashes(self._folder / "file_hashes.json")
            self._fingerprint = self._fingerprint_of(self._content(hashes))
        return self._fingerprint

    @property
    def model(self) -> Any:
        """The frozen transformer, in evaluation mode; loaded on first use.

        Raises:
            InputError: no model there, or its files are no longer those that the fingerprint was made from.
        """
        if self._model is None:
            model = backbones.load_backbone(str(self.source), self.config, self.dtype)
            # The fingerprint is often older than the weights: vectors of others must not be kept under its name.
            if self._fingerprint is not None and self._fingerprint_of(self._content(FileHashes())) != self._fingerprint:
                raise InputError(
                    f"{self.source}: the weights changed since this embedder's fingerprint was made: make a new embedder"
                )
            self._model = model
        if self._model.device != self.device:
            self._model = self._model.to(self.device)
        return self._model

    def settings(self) -> dict[str, Any]:
        """What changes a vector beside the model's files, as JSON."""
        return {
            "pooling": self.pooling,
            "max_length": self.max_length,
            "truncation_side": self.tokenizer.truncation_side,
            "dtype": self.dtype,
            "layer": self.layer,
            "join": {"conversational": self.joining.conversational, "append_eos": self.joining.append_eos},
        }

    def embed(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """The vectors of N completions after their prompts.

        Args:
            prompts (`Sequence[Text]`): N prompts, standard or conversational.
            completions (`Sequence[Text]`): N completions.

        Returns:
            `Tensor`: `[N, width]` float32 on the CPU. A text that comes twice is computed once.

        Raises:
            InputError: the batch does not pair up, a text has the wrong form or half of a surrogate pair, or the model gives a number that is not finite.
        """
        check_same_length(prompts, completions)
        hashes = [text_hash(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        first: dict[bytes, int] = {}
        for row, key in enumerate(hashes):
            first.setdefault(key, row)
        if not first:
            return torch.zeros(0, self.width)
        keys = list(first)
        vectors, cut = np.zeros((len(keys), self.width), dtype=np.float32), np.zeros(len(keys), dtype=bool)
        missing = np.ones(len(keys), dtype=bool)
        cache = self._open_cache()
        if cache is not None:
            at, known, was_cut = cache.read(keys)
            vectors[at], cut[at], missing[at] = known, was_cut, False
        todo = np.flatnonzero(missing)
        rows = [first[keys[i]] for i in todo]
        texts = [self.joining(self.tokenizer, prompts[row], completions[row]) for row in rows]
        _check_encodable(texts, rows)
        for part, found, was_cut in self._compute(texts):
            at = todo[part]
            vectors[at], cut[at] = found, was_cut
            if cache is not None:
                cache.write([keys[i] for i in at], found, was_cut)
        self.truncated += int(cut.sum())
        self.computed += len(todo)
        self.cached += len(keys) - len(todo)
        position = {key: index for index, key in enumerate(keys)}
        return torch.from_numpy(vectors)[[position[key] for key in hashes]]

    def embed_prompts(self, prompts: Sequence[Text]) -> Tensor:
        """`[N, width]` float32: the vectors of prompts without any completion; see [`Embedder.embed`]."""
        return self.embed(prompts, ["" if isinstance(prompt, str) else [] for prompt in prompts])

    def _fingerprint_of(self, content: dict[str, Any]) -> str:
        return fingerprint({**content, "tokenizer": tokenizer_digest(self.tokenizer), "settings": self.settings()})

    def _content(self, hashes: FileHashes) -> dict[str, Any]:
        if self.source is None:
            config = {
                k: v for k, v in self.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")
            }
            return {
                "weights": state_digest(self._model.state_dict()),
                "config": json.dumps(config, sort_keys=True, default=str),
            }
        folder = backbones.local_folder(self.source)
        if not has_weights(folder):  # of a hub id: only the small files are in the hub's cache
            self._model = backbones.load_backbone(self.source, self.config, self.dtype)
        files = [*weight_files(folder), folder / "config.json"]
        return {"files": {path.name: hashes(path) for path in files}}

    def _open_cache(self) -> EmbeddingCache | None:
        if self._folder is not None and self._cache is None:
            self._cache = EmbeddingCache(self._folder, self.fingerprint, self.width)
        return self._cache

    def _compute(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Positions, vectors and whether they were cut, of parts of the texts: many enough to be worth a write, few enough to be lost."""
        block = _BLOCK_BATCHES * self.batch_size
        for start in range(0, len(texts), block):
            rows, cut = self._tokenize(texts[start : start + block])
            order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))  # texts of like length share a batch
            done: list[int] = []
            waiting: list[Tensor] = []
            since = monotonic()
            for first in range(0, len(order), self.batch_size):
                batch = order[first : first + self.batch_size]
                waiting.append(self._forward([rows[index] for index in batch]))
                done += batch
                if monotonic() - since > _WRITE_SECONDS or first + len(batch) == len(order):
                    yield start + np.array(done), torch.cat(waiting).numpy(), cut[done]
                    done, waiting, since = [], [], monotonic()

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], np.ndarray]:
        # verbose: transformers would warn about the texts that are about to be cut.
        rows = self.tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
        cut = np.array([len(row) > self.max_length for row in rows], dtype=bool)
        for index in np.flatnonzero(cut).tolist():
            # Cut by the tokenizer, which keeps the special tokens at both ends.
            rows[index] = self.tokenizer(texts[index], truncation=True, max_length=self.max_length)["input_ids"]
        return [row or [self.tokenizer.pad_token_id] for row in rows], cut

    def _forward(self, rows: Sequence[list[int]]) -> Tensor:
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self.tokenizer.pad_token_id)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        ids, mask = ids.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            if self.pooling == "mean":
                pooled = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
            else:
                at = mask.sum(dim=1) - 1 if self.pooling == "last" else torch.zeros_like(mask[:, 0])
                pooled = hidden[torch.arange(len(hidden), device=hidden.device), at]
        if pooled.shape[1] != self.width:
            raise InputError(
                f"{self.source}: the configuration says width {self.width}, the model gives {pooled.shape[1]}"
            )
        if not pooled.isfinite().all():
            raise InputError(f"{self.source or 'the model'} gives embeddings that are not finite")
        return pooled.cpu()


def _check_encodable(texts: Sequence[str], rows: Sequence[int]) -> None:
    for text, row in zip(texts, rows, strict=True):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {row} is no Unicode text: it has half of a surrogate pair, {text[error.start]!a}, at position {error.start} of {text[:60]!a}"
            ) from error
