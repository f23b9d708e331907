"""One model, every trade-off: load a steerable policy, generate with one preference per row, score, export, save."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frontier.atomic import replace_folder, write_text
from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture
from frontier.realize.export import base_tensors
from moalign.bundle import (
    BaseModel,
    Manifest,
    base_location,
    portable_location,
    read_manifest,
    weights_digest,
    write_manifest,
)
from moalign.conditioning.adapter_mixture import MixtureConditioning
from moalign.conditioning.base import Conditioning, Text, conditioning_from_json
from moalign.loading import attach_adapters, load_base, load_tokenizer
from moalign.model_card import model_card
from moalign.preference import Preference
from moalign.prompt_tokens import prompt_tokens

if TYPE_CHECKING:
    from frontier.front import ParetoFront
    from moalign.exporting.facts import ExportFacts

PreferenceLike = Preference | str | Mapping[str, Any]
# None stands for the reference policy: the base model without any adapter.
Preferences = PreferenceLike | None | Sequence[PreferenceLike | None]


class SteerablePolicy:
    """A base model with LoRA adapters, steered by a preference per row: one adapter per objective, unless `conditioning` says otherwise.

    Args:
        model (`PeftModel`): holds the conditioning's adapters, by default one per objective.
        tokenizer (`PreTrainedTokenizerBase`): the base model's.
        objectives (`Sequence[str]`): the K names, in the order of every weight tensor.
        normalizer (`dict`, *optional*): what one unit of each reward meant in training (`reward_heads.Normalizer` JSON).
        training (`dict`, *optional*): how the adapters came to be; goes into `steer.json` and the model card.
        default_preference (`dict`, *optional*): JSON form of the preference for requests without one; uniform weights otherwise.
        conditioning (`Conditioning`, *optional*): how the policy is told its preference; a mixture of one adapter per objective by default.

    Example:
        ```python
        policy = SteerablePolicy.from_pretrained("runs/demo/policy")
        policy.generate(["Hi!", "Hi!"], ["helpful=1.0", "helpful=0.3,brief=0.7"], max_new_tokens=40)
        ```
    """

    def __init__(
        self,
        model: PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        objectives: Sequence[str],
        normalizer: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        default_preference: dict[str, Any] | None = None,
        conditioning: Conditioning | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.objectives = tuple(objectives)
        self.conditioning: Conditioning = conditioning or MixtureConditioning(self.objectives)
        self.mixture = AdapterMixture(model, self.conditioning.adapters)
        self.normalizer = normalizer
        self.training = dict(training or {})
        self.base_digest: str | None = None  # its `weights_digest`, taken before it was sharded over several processes
        self.adapter_folders: tuple[Path, ...] = ()  # where the adapters were read from, which no export may replace
        self.default_preference = (
            Preference.from_json(default_preference, self.objectives)
            if default_preference
            else Preference.uniform(self.objectives)
        )

    # ---- loading

    @classmethod
    def from_pretrained(
        cls,
        bundle_or_base: str | Path,
        adapters: Mapping[str, str | Path] | None = None,
        *,
        base: str | Path | PreTrainedModel | None = None,
        verify: bool = True,
        dtype: torch.dtype | str = "auto",
        device: str | torch.device | None = None,
        **model_kwargs: Any,
    ) -> "SteerablePolicy":
        """Load a bundle, or any base model with LoRA adapters that plain PEFT trained.

        Args:
            bundle_or_base (`str` or `Path`): a bundle; with `adapters`, the base model's folder or hub id.
            adapters (`Mapping[str, path]`, *optional*): objective to adapter folder, for adapters trained elsewhere.
            base (*optional*): where the bundle's base model lies now, if it moved; its weights are compared with the bundle's digest.
            verify (`bool`, *optional*, defaults to `True`): compare sha256 of the adapter files and the digest of the base.
            dtype (*optional*, defaults to `"auto"`): of the base model; adapters stay in float32.
            device (*optional*): defaults to a GPU where there is one.
            model_kwargs: passed to `AutoModelForCausalLM.from_pretrained`.

        Raises:
            InputError: the bundle is damaged, the base model is missing or another one, an adapter cannot be mixed exactly.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if adapters is not None:
            if not adapters:
                raise InputError("adapters is empty: name at least one objective and its adapter folder")
            model = load_base(bundle_or_base, dtype, **model_kwargs)
            tokenizer = load_tokenizer(bundle_or_base, model_kwargs.get("revision", "main"))
            policy = cls(attach_adapters(model, adapters).to(device).eval(), tokenizer, tuple(adapters))
            policy.adapter_folders = tuple(map(Path, adapters.values()))
            return policy
        folder = Path(bundle_or_base)
        manifest = read_manifest(folder, verify)
        location = str(base) if isinstance(base, str | Path) else base_location(manifest, folder)
        if isinstance(base, PreTrainedModel):
            model, tokenizer = base, load_tokenizer(base.config.name_or_path)
        else:
            if manifest.base.revision and base is None:
                model_kwargs.setdefault("revision", manifest.base.revision)
            why = f"bundle {folder} needs it"
            model = load_base(location, dtype, why, **model_kwargs)
            tokenizer = load_tokenizer(location, model_kwargs.get("revision", "main"), why)
        if verify and model.dtype in (torch.float32, torch.bfloat16):
            found = weights_digest(model.state_dict().items())
            if found != manifest.base.digest:
                raise InputError(
                    f"{location} is not the base model of bundle {folder}: the digest of its weights is {found[:12]}…, the bundle "
                    f"was trained on '{manifest.base.name_or_path}' with {manifest.base.digest[:12]}…"
                )
        conditioning = conditioning_from_json(manifest.conditioning, manifest.objectives)
        peft_model = attach_adapters(model, {name: folder / name for name in conditioning.adapters})
        return cls(
            peft_model.to(device).eval(),
            tokenizer,
            manifest.objectives,
            manifest.normalizer,
            manifest.training,
            manifest.default_preference,
            conditioning,
        )

    # ---- steering

    @property
    def base(self) -> PreTrainedModel:
        """The model under the adapters."""
        return cast("PreTrainedModel", self.model.get_base_model())

    @property
    def device(self) -> torch.device:
        """Where inputs have to be."""
        return self.model.device

    def weights(self, preferences: Preferences, rows: int, strength: float | Sequence[float] = 1.0) -> Tensor:
        """`[rows, K]` float32 weights; a single preference serves every row, `None` (the reference policy) is a zero row.

        Args:
            preferences: one, or one per row.
            rows (`int`): number of rows.
            strength (`float` or one per row, *optional*, defaults to 1): multiplies the whole mixture; 1 − α in CLP's KL-mixing.

        Raises:
            InputError: an unknown objective, as many preferences or strengths as are neither 1 nor `rows`, or a strength for a policy whose weights are not mixed.
        """
        if not self.conditioning.linear and strength != 1.0:
            raise InputError(
                f"strength scales mixed weights; this policy is told its preference otherwise ({self.conditioning.kind})"
            )
        one = preferences is None or isinstance(preferences, Preference | str | Mapping)
        listed = (
            [cast("PreferenceLike | None", preferences)] * rows if one else list(cast("Sequence[Any]", preferences))
        )
        if len(listed) != rows:
            raise InputError(f"{len(listed)} preferences for {rows} prompts: give one, or one per prompt")
        scales = torch.as_tensor(strength, dtype=torch.float32)
        if scales.dim() and len(scales) != rows:
            raise InputError(f"{len(scales)} strengths for {rows} prompts: give one, or one per prompt")
        if not listed:
            return torch.zeros(0, len(self.objectives))
        zero = torch.zeros(len(self.objectives))
        known = {}  # the same few preferences usually fill the rows
        for p in listed:
            if p is not None and id(p) not in known:
                known[id(p)] = Preference.coerce(p, self.objectives).as_tensor(self.objectives)
        stacked = torch.stack([zero if p is None else known[id(p)] for p in listed])
        return stacked * scales.reshape(-1, 1)

    @contextlib.contextmanager
    def steer(self, preferences: Preferences, rows: int = 1) -> Iterator[PeftModel]:
        """The model under these preferences: `with policy.steer("helpful=1.0") as model: model(input_ids)`."""
        with self.steer_rows(self.weights(preferences, rows)):
            yield self.model

    def steer_rows(self, weights: Tensor) -> AbstractContextManager[None]:
        """The model under `[B, K]` (or `[1, K]`) weights: a zero row is the reference policy. What the prompt has to say is up to `encode`."""
        return self.mixture.steer(self.conditioning.mixing(weights.reshape(-1, weights.shape[-1])))

    # ---- texts and tokens

    def encode(self, prompts: Sequence[Text], weights: Tensor | None = None) -> list[list[int]]:
        """Token ids of prompts, at least one each; see `prompt_tokens`.

        Args:
            prompts (`Sequence`): B texts or conversations.
            weights (`Tensor`, *optional*): `[B, K]` or `[1, K]`: add what the policy is told of its preference in the prompt.
        """
        told = prompts if weights is None else self.conditioning.prompts(prompts, weights)
        return prompt_tokens(self.tokenizer, told)

    @property
    def eos_token_ids(self) -> list[int]:
        """Every token that ends a completion: the tokenizer's and those that the base's generation config declares."""
        declared = getattr(self.base.generation_config, "eos_token_id", None)
        ids = [declared] if isinstance(declared, int) else list(declared or [])
        if self.tokenizer.eos_token_id is not None and self.tokenizer.eos_token_id not in ids:
            ids.insert(0, self.tokenizer.eos_token_id)
        return ids

    @property
    def pad_token_id(self) -> int:
        """The padding token; any valid id serves where the tokenizer has none, since padding is masked."""
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(i for i in candidates if i is not None)

    def pad_left(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """B sequences of ids as `[B, T]` on the policy's device, padded on the left, and their mask `[B, T]`."""
        longest = max(len(s) for s in sequences)
        ids = torch.full((len(sequences), longest), self.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            if len(sequence):
                ids[row, longest - len(sequence) :] = torch.as_tensor(sequence)
                mask[row, longest - len(sequence) :] = 1
        return ids.to(self.device), mask.to(self.device)

    # ---- generation

    @torch.no_grad()
    def generate_ids(
        self, prompt_ids: Sequence[Sequence[int]], weights: Tensor, seed: int | None = None, **generate_kwargs: Any
    ) -> list[list[int]]:
        """Completions as token ids, the ending token included, one `[B, K]` row of weights per (encoded) prompt; see `generate`."""
        if not prompt_ids:
            return []
        ids, mask = self.pad_left(prompt_ids)
        generate_kwargs.setdefault("pad_token_id", self.pad_token_id)
        ends = generate_kwargs.setdefault("eos_token_id", self.eos_token_ids or None)
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        devices = [self.device] if self.device.type == "cuda" else []
        with self.steer_rows(weights), torch.random.fork_rng(devices=devices, enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            output = self.model.generate(input_ids=ids, attention_mask=mask, **generate_kwargs)
        completions = []
        for row in output[:, ids.shape[1] :].tolist():
            end = next((i for i, token in enumerate(row) if token in ends), len(row))
            completions.append(row[: end + 1])
        return completions

    def generate(
        self,
        prompts: Sequence[Text],
        preferences: Preferences,
        *,
        strength: float | Sequence[float] = 1.0,
        seed: int | None = None,
        **generate_kwargs: Any,
    ) -> list[str]:
        """Answer every prompt under its own preference, all in one batch.

        Args:
            prompts (`Sequence`): texts or conversations (lists of `{"role", "content"}`).
            preferences: one for all prompts or one per prompt: `Preference`, text form, mapping, or `None` for the reference policy.
            strength (*optional*, defaults to 1): multiplies the mixture, see `weights`.
            seed (`int`, *optional*): makes sampling repeatable without touching the global random state.
            generate_kwargs: of `transformers`' `generate` (`max_new_tokens`, `do_sample`, `num_return_sequences`, ...).

        Returns:
            `list[str]`: the completions without the prompts; `num_return_sequences` of them per prompt, in a row.

        Raises:
            InputError: an unknown objective or a wrong number of preferences.
        """
        weights = self.weights(preferences, len(prompts), strength)
        completions = self.generate_ids(self.encode(prompts, weights), weights, seed, **generate_kwargs)
        return [str(self.tokenizer.decode(ids, skip_special_tokens=True)) for ids in completions]

    # ---- scoring

    def token_log_probs(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log π_w of every completion token: `[B, T]` and its mask `[B, T]` (completions are right-aligned).

        Gradients flow to the adapters unless the caller turns them off.
        """
        ids, mask = self.pad_left([[*p, *c] for p, c in zip(prompt_ids, completion_ids, strict=True)])
        keep = max(1, *(len(c) for c in completion_ids)) if completion_ids else 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with self.steer_rows(weights):
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep + 1, use_cache=False
            ).logits[:, :-1]
        targets = ids[:, -logits.shape[1] :]
        log_probs = logits.float().log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        lengths = torch.tensor([len(c) for c in completion_ids], device=self.device)
        from_end = torch.arange(logits.shape[1], 0, -1, device=self.device)
        is_completion = from_end[None, :] <= lengths[:, None]
        return log_probs.masked_fill(~is_completion, 0.0), is_completion

    @torch.no_grad()
    def log_probs(
        self, prompts: Sequence[Text], completions: Sequence[str], preferences: Preferences, *, append_eos: bool = True
    ) -> Tensor:
        """Log π_w(y | x) of whole completions, `[B]` in nats, float32 on the CPU.

        Args:
            prompts (`Sequence`): B texts or conversations.
            completions (`Sequence[str]`): B texts, one for each prompt.
            preferences: one, or one per row; `None` is the reference policy.
            append_eos (`bool`, *optional*, defaults to `True`): count the end of the text as part of the completion.
        """
        if not prompts and not completions:
            return torch.zeros(0)
        ends = [self.tokenizer.eos_token_id] if append_eos and self.tokenizer.eos_token_id is not None else []
        completion_ids = [[*self.tokenizer(c, add_special_tokens=False)["input_ids"], *ends] for c in completions]
        weights = self.weights(preferences, len(prompts))
        return self.token_log_probs(self.encode(prompts, weights), completion_ids, weights)[0].sum(-1).cpu()

    # ---- saving

    def manifest(self, out: Path) -> Manifest:
        """What `steer.json` says of this policy when saved at `out`."""
        name = str(self.base.config.name_or_path)
        return Manifest(
            objectives=self.objectives,
            base=BaseModel(
                name_or_path=portable_location(name, out),
                digest=self.base_digest or weights_digest(base_tensors(self.model).items()),
                revision=None if Path(name).is_dir() else getattr(self.base.config, "_commit_hash", None),
            ),
            normalizer=self.normalizer,
            training=self.training,
            default_preference=self.default_preference.to_json(),
            conditioning=self.conditioning.to_json(),
        )

    def save_pretrained(self, out: str | Path) -> None:
        """Write a bundle: one plain PEFT folder per objective, `steer.json` with checksums, and the model card."""
        out = Path(out)
        with replace_folder(out) as folder:
            # Embeddings are never trained here, and "auto" would ask the hub for the base's configuration.
            self.model.save_pretrained(
                str(folder), selected_adapters=list(self.conditioning.adapters), save_embedding_layers=False
            )
            manifest = self.manifest(out)
            write_manifest(folder, manifest)
            write_text(folder / "README.md", model_card(manifest))

    def export(
        self,
        preference: PreferenceLike,
        out: str | Path,
        kind: Literal["lora", "truncated", "merged"] = "lora",
        *,
        rank: int | None = None,
        prompts: Sequence[Text] | None = None,
        front: "ParetoFront | None" = None,
        max_shard_size: int | str = "5GB",
    ) -> "ExportFacts":
        """Write the policy at one preference as a model that knows nothing of moalign, with its tokenizer and a model card.

        Args:
            preference: the point.
            out (`str` or `Path`): the folder to write.
            kind (`str`, *optional*, defaults to `"lora"`): `"lora"`, one exact LoRA of rank Σ r_k; `"truncated"`, the best LoRA of rank `rank`; `"merged"`, the whole model.
            rank (`int`, *optional*): of a truncated LoRA.
            prompts (*optional*): to compare the logits of a truncated LoRA with the exact ones on.
            front (*optional*): measured of this policy, for the card.
            max_shard_size (*optional*, defaults to 5 GB): of one file of merged weights. More: `moalign.exporting.live.export_policy`.

        Raises:
            InputError: the policy reads its preference in the prompt, or its adapters cannot be exported in this form.
        """
        from moalign.exporting.live import export_policy

        options: dict[str, Any] = {"prompts": prompts, "front": front, "max_shard_size": max_shard_size}
        return export_policy(self, Preference.coerce(preference, self.objectives), out, kind, rank=rank, **options)
