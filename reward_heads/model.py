"""A transformer with one output per objective, kept as an ordinary sequence-classification model that any program can read."""

import copy
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from frontier.atomic import replace_folder
from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.head import Head
from reward_heads.joining import Joining
from reward_heads.loading import build_from_base, load_finite, load_tokenizer
from reward_heads.normalizer import Normalizer
from reward_heads.pooling import pooling_of, set_pooling
from reward_heads.sidecar import Sidecar
from reward_heads.text import Text, check_same_length
from reward_heads.truncation import Truncation, check_length, tokenize, usable_positions

logger = logging.getLogger(__name__)
SIDES = ("left", "right")


class TransformerReward:
    """A vector reward computed by a transformer with K outputs.

    The folder that `save_pretrained` writes is a plain `AutoModelForSequenceClassification` (`num_labels` = K, `id2label` = the objectives,
    `problem_type` "regression") with its tokenizer, plus `reward_heads.json`. `pipeline("text-classification", model=folder, top_k=None)`
    on `reward.join(prompt, completion)` gives the model's outputs, which are the scores plus `offset`.

    What a score is: after training on pairs, `score_a − score_b` is the log-odds that a is better (Bradley-Terry), and 0 is the mean over the
    training completions; after training on ratings, the score is the expected rating in standard deviations from the mean rating, and
    `units.inverse(scores)` is in the ratings' own units; of an ordinal or sign-aware head it is a log-odds. `heads` says which, and `expected_ratings` turns scores into ratings
    whatever they are.

    With `pooling="mean"` the heads read the mean of the text's tokens. No `AutoModelForSequenceClassification` does that, so such a folder does not load there as if it did: its
    heads are stored under other names, which transformers reports (see `reward_heads.pooling`).

    `truncation` and `last_truncation` ([`Truncation`]) count the texts that were longer than `max_length`, in all calls and in the last one; the first such text is also warned of.

    Args:
        model (`PreTrainedModel`): a sequence-classification model; its `id2label` names the objectives.
        tokenizer (`PreTrainedTokenizerBase`): copied, and set to pad on the right.
        batch_size (`int`, *optional*, defaults to 64): texts per forward pass in `score`.
        max_length (`int`, *optional*): longest text in tokens, by default what model and tokenizer allow (1024 if they don't say); at most the positions of a model that has a table of
            them.
        truncation_side (`str`, *optional*, defaults to `"left"`): where a text that is too long is cut; `"left"` keeps the completion.
        joining (`Joining`, *optional*): how prompt and completion become one text, by default what suits the tokenizer.
        offset (`Sequence[float]`, *optional*): K numbers subtracted from the outputs, by default 0.
        units (`Normalizer`, *optional*): the ratings' location and scale.
        training (`str`, *optional*): on what it was trained: `"pairs"`, `"ratings"` or `"pairs+ratings"`.
        pooling (`str`, *optional*): `"model"` (what the architecture does: a decoder's last token, an encoder's first) or `"mean"`; by default as the model has it.
        heads (`Sequence[Head]`, *optional*): K, what each head was trained on.

    Raises:
        InputError: the model's labels can't be objectives, the tokenizer has neither a padding nor an end token or does not fit the model,
            `max_length` is more than the model has positions, or `offset`, `units` or `heads` do not fit the objectives.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        *,
        batch_size: int = 64,
        max_length: int | None = None,
        truncation_side: str = "left",
        joining: Joining | None = None,
        offset: Sequence[float] | None = None,
        units: Normalizer | None = None,
        training: str | None = None,
        pooling: str | None = None,
        heads: Sequence[Head] | None = None,
    ) -> None:
        labels: dict[Any, str] = model.config.id2label or {}
        self.objectives = check_objectives([labels[index] for index in sorted(labels)])
        for what, value in (("batch_size", batch_size), ("max_length", max_length)):
            if value is not None and value < 1:
                raise InputError(f"{what} must be at least 1, found {value}")
        if truncation_side not in SIDES:
            raise unknown_name("truncation_side", str(truncation_side), SIDES)
        if max_length is not None:
            check_length(model, max_length)
        self.model = model
        if pooling is not None:
            set_pooling(model, pooling)
        self.tokenizer = copy.deepcopy(tokenizer)
        # Right padding is the same for decoders (the last token that isn't padding is pooled), for encoders (the first is), and for
        # absolute positions, which padding on the left would shift.
        self.tokenizer.padding_side = "right"
        self.tokenizer.truncation_side = truncation_side
        self._settle_padding()
        self.batch_size = batch_size
        self.max_length = max_length or _longest(model, self.tokenizer)
        self.joining = joining or Joining.for_tokenizer(self.tokenizer)
        self.offset = (
            torch.zeros(len(self.objectives)) if offset is None else torch.tensor(tuple(offset), dtype=torch.float32)
        )
        if self.offset.shape != (len(self.objectives),) or not self.offset.isfinite().all():
            raise InputError(f"offset must be {len(self.objectives)} finite numbers, found {self.offset.tolist()}")
        self.units = None if units is None else units.select(self.objectives)
        self.training = training
        self.heads = tuple(heads or (Head(),) * len(self.objectives))
        if len(self.heads) != len(self.objectives):
            raise InputError(
                f"heads must be one for each of {len(self.objectives)} objectives, found {len(self.heads)}"
            )
        self.truncation = self.last_truncation = Truncation()
        self._warned_of_truncation = False

    @property
    def pooling(self) -> str:
        """`"model"` or `"mean"`."""
        return pooling_of(self.model)

    @classmethod
    def from_base(
        cls,
        base: str | os.PathLike[str] | PreTrainedModel,
        objectives: Sequence[str],
        *,
        tokenizer: Any = None,
        seed: int = 0,
        **settings: Any,
    ) -> "TransformerReward":
        """Put K new heads on a language model.

        Args:
            base (`str`, path or `PreTrainedModel`): a causal language model (its head is left behind) or a bare backbone; a folder, a hub
                name, or a loaded model, whose weights are copied.
            objectives (`Sequence[str]`): K names.
            tokenizer (`PreTrainedTokenizerBase`, *optional*): by default the one saved with `base`.
            seed (`int`, *optional*, defaults to 0): of the heads' initial weights; the global random state is left alone.
            **settings: of the constructor (`batch_size`, `max_length`, `pooling`, ...).

        Raises:
            InputError: there is no model at `base`, its architecture has no sequence-classification form, or no tokenizer is known.
        """
        if isinstance(base, PreTrainedModel):
            settings.setdefault("pooling", pooling_of(base))
        elif (sidecar := Sidecar.read(Path(base))) is not None:
            settings.setdefault("pooling", sidecar.pooling)
        model = build_from_base(base, check_objectives(objectives), seed)
        if tokenizer is None:
            if isinstance(base, PreTrainedModel):
                raise InputError(
                    "a base model that is given loaded needs its tokenizer too: from_base(model, objectives, tokenizer=...)"
                )
            tokenizer = load_tokenizer(base)
        return cls(model, tokenizer, **settings)

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        batch_size: int = 64,
    ) -> "TransformerReward":
        """Load what `save_pretrained` wrote, or any other sequence-classification model (its labels become the objectives).

        Args:
            path (`str` or path): a folder or a hub name.
            device (*optional*): where to put the model, by default the CPU.
            dtype (*optional*, defaults to `"auto"`): of the weights, by default as saved.
            batch_size (`int`, *optional*, defaults to 64): texts per forward pass.

        Raises:
            InputError: there is no such model, a weight is missing, of another size than config.json says or not finite, or `reward_heads.json` is wrong or contradicts
                the model.
        """
        sidecar = Sidecar.read(Path(path))
        model = load_finite(path, dtype, mean_pooled=sidecar is not None and sidecar.pooling == "mean")
        tokenizer = load_tokenizer(path)
        if device is not None:
            model.to(device)  # type: ignore[arg-type]
        if sidecar is None:
            return cls(model, tokenizer, batch_size=batch_size)
        reward = cls(
            model,
            tokenizer,
            batch_size=batch_size,
            max_length=min(sidecar.max_length, usable_positions(model) or sidecar.max_length),
            truncation_side=sidecar.truncation_side,
            joining=sidecar.joining,
            offset=sidecar.offset,
            units=sidecar.units,
            training=sidecar.training,
            pooling=sidecar.pooling,
            heads=sidecar.heads or None,
        )
        if sidecar.objectives != reward.objectives:
            raise InputError(
                f"{path}: reward_heads.json has the objectives {', '.join(sidecar.objectives)}, "
                f"but the model's id2label has {', '.join(reward.objectives)}"
            )
        return reward

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Write model (safetensors), tokenizer and `reward_heads.json` into a folder; a new folder appears whole, in an old one each file does."""
        with replace_folder(path) as beside:
            self.model.save_pretrained(beside)
            self.tokenizer.save_pretrained(beside)
            self.write_sidecar(beside)

    def write_sidecar(self, folder: str | os.PathLike[str]) -> None:
        """Write only `reward_heads.json`, beside model files that something else (a Trainer's checkpoint) has written."""
        offset = tuple(self.offset.tolist())
        side = self.tokenizer.truncation_side
        Sidecar(
            self.objectives,
            self.joining,
            side,
            self.max_length,
            self.training,
            offset,
            self.units,
            self.pooling,
            self.heads,
        ).write(Path(folder))

    def join(self, prompt: Text, completion: Text) -> str:
        """The one text that the model reads for this prompt and completion; for `pipeline("text-classification")` and other programs."""
        return self.joining(self.tokenizer, prompt, completion)

    def encode(self, prompts: Sequence[Text], completions: Sequence[Text]) -> list[list[int]]:
        """Token ids of each joined text, at most `max_length`, not padded.

        Raises:
            InputError: the batch does not pair up or a text has the wrong form.
        """
        check_same_length(prompts, completions)
        texts = [self.join(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        rows, self.last_truncation = tokenize(self.tokenizer, texts, self.max_length)
        self.truncation = self.truncation + self.last_truncation
        # An empty text has no token to pool; one padding token stands for it.
        return [row or [self.tokenizer.pad_token_id] for row in rows]

    def pad(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """`B` rows of ids to `input_ids` and `attention_mask`, both `[B, longest]`, padded on the right."""
        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return ids, mask

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32 on the CPU; see [`VectorReward.score`]. Texts of like length share a forward pass."""
        rows = self.encode(prompts, completions)
        if self.last_truncation.cut and not self._warned_of_truncation:
            self._warned_of_truncation = True
            logger.warning("%s", self.last_truncation.describe(self.max_length, self.tokenizer.truncation_side))
        return self.outputs(rows) - self.offset

    def expected_ratings(self, scores: Tensor) -> Tensor:
        """Scores as ratings in the data's own units.

        Args:
            scores (`Tensor`): `[..., K]`, of `score`.

        Returns:
            `Tensor`: `[..., K]`: the rating (`squared`, `huber`), the mean level (`ordinal`), the probability of a yes (sign-aware); NaN for an objective without ratings.
        """
        measured = torch.full_like(scores, math.nan) if self.units is None else self.units.inverse(scores)
        columns = []
        for k, head in enumerate(self.heads):
            # Without a record of the losses (folders of schema 1) units say it: those of an objective without ratings are 0 and 1.
            unknown = (
                head == Head() and self.units is not None and (self.units.location[k], self.units.scale[k]) != (0, 1)
            )
            linear = head.ratings in ("squared", "huber") or unknown
            columns.append(measured[..., k] if linear else head.expected_rating(scores[..., k]))
        return torch.stack(columns, dim=-1)

    def outputs(self, rows: Sequence[list[int]]) -> Tensor:
        """The model's outputs `[N, K]` (scores before `offset` is subtracted), float32 on the CPU, for `N` rows of token ids."""
        order = sorted(
            range(len(rows)), key=lambda index: -len(rows[index])
        )  # longest first: memory runs out at once or never
        outputs = torch.empty(len(rows), len(self.objectives))
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                for start in range(0, len(order), self.batch_size):
                    batch = order[start : start + self.batch_size]
                    ids, mask = (tensor.to(self.model.device) for tensor in self.pad([rows[index] for index in batch]))
                    outputs[batch] = self.model(input_ids=ids, attention_mask=mask).logits.float().cpu()
        finally:
            self.model.train(was_training)
        return outputs

    def _settle_padding(self) -> None:
        tokenizer, config = self.tokenizer, self.model.config
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise InputError("the tokenizer has neither a padding nor an end token: set tokenizer.pad_token")
            tokenizer.pad_token = tokenizer.eos_token
        rows = self.model.get_input_embeddings().weight.size(0)  # type: ignore[operator]
        if len(tokenizer) > rows:
            raise InputError(
                f"the tokenizer has {len(tokenizer)} tokens but the model only {rows}: they do not belong together"
            )
        # A decoder finds the token to pool by this id; nested configs (multimodal backbones) keep it in their text part.
        config.pad_token_id = tokenizer.pad_token_id
        config.get_text_config().pad_token_id = tokenizer.pad_token_id


def _longest(model: PreTrainedModel, tokenizer: Any) -> int:
    """The longest text that model and tokenizer allow, in tokens; 1024 if neither says, 4096 at most."""
    said = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limits = [usable_positions(model), said, tokenizer.model_max_length]
    # A tokenizer that knows no limit says 10^30.
    known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < 10**9]
    return min([*known, 4096]) if known else 1024
