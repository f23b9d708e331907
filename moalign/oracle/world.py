"""An alignment problem whose answer is known: few enough completions to list them all, a fixed reference, known rewards.

Every quantity is exact, in float64, with prompts weighted equally, so that a trainer's result can be compared with the best there is.
"""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from frontier.atomic import replace_folder
from frontier.errors import InputError
from moalign.oracle.best_of import best_of_n
from moalign.oracle.config import WorldConfig
from moalign.oracle.constrained import Bound, Constrained, constrained
from moalign.oracle.distribution import completion_log_probs, reading
from moalign.oracle.groups import MaxMin, max_min
from moalign.oracle.measure import Measurement, as_weights, measure
from moalign.oracle.optimum import Optimum, expected, optimum
from moalign.oracle.reference import build_model, build_tokenizer, choice_token, prompt_text, step_tokens
from moalign.oracle.table_reward import TableReward, select_tables
from moalign.oracle.tables import all_choices, draw_tables
from moalign.oracle.world_data import WorldData

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WORLD, TABLES = "oracle_world.json", "oracle_tables.safetensors"


class OracleWorld(WorldData):
    """A small world in which the best policy is known for every preference. Make one with `covered`, `rare` or `load`.

    Attributes:
        config (`WorldConfig`): how it was made.
        tokenizer (`PreTrainedTokenizerFast`): of the reference; texts round-trip.
        prompts (`tuple[str, ...]`): the P prompts.
        completions (`tuple[str, ...]`): the S completions; as token ids each is followed by the end token, which has probability 1.
        log_reference (`Tensor`): `[P, S]`, log π_ref(y|x); sums to 1 exactly.
        rewards (`Tensor`): `[P, S, K]`, the objectives, standardised under the reference.
        group_rewards (`Tensor`): `[P, S, G]`, what each user group likes, standardised; opposite tastes with a shared part.
        cost (`Tensor`): `[P, S]`, standardised; the reward `config.safety` is its negative.
    """

    def __init__(
        self,
        config: WorldConfig,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerFast",
        tables: dict[str, Tensor],
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.prompts = tuple(prompt_text(p) for p in range(config.prompts))
        choices = all_choices(config.vocabulary, config.length)
        self.completions = tuple(
            "".join(choice_token(c, t) for t, c in enumerate(row)) for row in cast("list[list[int]]", choices.tolist())
        )
        self.log_reference = tables["log_reference"]
        self.rewards = tables["rewards"]
        self.group_rewards = tables["group_rewards"]
        self.cost = tables["cost"]
        self._tables = torch.cat([self.rewards, self.group_rewards, -self.cost.unsqueeze(-1)], -1)
        self._model = model
        self._position = {text: i for i, text in enumerate(self.completions)}
        self._steps = step_tokens(tokenizer, config.vocabulary, config.length)
        self.reward = self.reward_of(config.objectives)

    # ---- making, saving, loading

    @classmethod
    def covered(cls, **settings: Any) -> "OracleWorld":
        """A world whose every reward stays within 2.5 standard deviations: data from the reference can show the optimum.

        Args:
            settings: of `WorldConfig`.
        """
        return cls.build(WorldConfig(**settings))

    @classmethod
    def rare(cls, **settings: Any) -> "OracleWorld":
        """A world whose last objective is best where the reference hardly goes (probability ≤ 1e-3): exploring finds it, data do not hold it.

        Args:
            settings: of `WorldConfig`.
        """
        return cls.build(WorldConfig(**{**settings, "rare": True}))

    @classmethod
    def build(cls, config: WorldConfig) -> "OracleWorld":
        """The world of these settings; always the same one.

        Raises:
            InputError: a reward is constant or cannot be kept within the bound; the world is too small for a rare reward.
        """
        words = [*config.names, *config.words]
        tokenizer = build_tokenizer(config.vocabulary, config.length, config.prompts, words)
        model = build_model(
            tokenizer,
            config.vocabulary,
            config.length,
            config.seed,
            hidden=config.hidden,
            layers=config.layers,
            spread=config.spread,
        )
        exact = copy.deepcopy(model).double()
        prompt_ids = [tokenizer(prompt_text(p))["input_ids"] for p in range(config.prompts)]
        with torch.no_grad(), reading(exact, None) as (logits, _):
            log_reference = completion_log_probs(
                logits, prompt_ids, step_tokens(tokenizer, config.vocabulary, config.length)
            ).log_softmax(1)
        return cls(
            config, model, tokenizer, {"log_reference": log_reference} | draw_tables(config, log_reference.exp())
        )

    def save(self, folder: str | Path) -> str:
        """Write the reference as an ordinary model folder, with the world's tables beside it, and return its path.

        `AutoModelForCausalLM` and every trainer read the folder; `OracleWorld.load` reads the world back.
        """
        with replace_folder(folder) as beside:
            self._model.save_pretrained(beside)
            self.tokenizer.save_pretrained(beside)
            tables = {name: getattr(self, name) for name in ("log_reference", "rewards", "group_rewards", "cost")}
            save_file(tables, beside / TABLES)
            (beside / WORLD).write_text(json.dumps(self.config.to_json(), indent=2) + "\n", encoding="utf-8")
        return str(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "OracleWorld":
        """Read what `save` wrote.

        Raises:
            InputError: the folder holds no world.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = Path(folder)
        for name in (WORLD, TABLES):
            if not (folder / name).is_file():
                raise InputError(f"{folder} holds no oracle world: {name} is missing")
        config = WorldConfig.from_json(json.loads((folder / WORLD).read_text(encoding="utf-8")))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(folder))
        return cls(config, model, tokenizer, load_file(folder / TABLES))

    def model(self) -> "PreTrainedModel":
        """A fresh copy of the reference in float32, to be trained or wrapped."""
        return copy.deepcopy(self._model)

    # ---- rewards

    def tables_of(self, names: Sequence[str]) -> Tensor:
        """`[P, S, len(names)]` of any objectives, groups or the negative cost, by name.

        Raises:
            InputError: an unknown name.
        """
        return select_tables(names, self.config.names, self._tables)

    def reward_of(self, names: Sequence[str]) -> TableReward:
        """Any rewards, by name, as a `VectorReward` on texts; `world.reward` is that of the objectives."""
        return TableReward(names, self.tables_of(names), self.prompts, self._position)

    def mode_probability(self, name: str, margin: float = 0.5) -> float:
        """How likely the reference is to come within `margin` standard deviations of a reward's best, on average over prompts."""
        table = self.tables_of([name])[..., 0]
        near = table >= table.amax(1, keepdim=True) - margin
        return float((self.log_reference.exp() * near).sum(1).mean())

    # ---- the exact answers

    def weights(self, weights: object) -> Tensor:
        """`[K]` float64 from a preference in any form or from K numbers."""
        return as_weights(weights, self.objectives)

    def optimum(self, weights: object, beta: float) -> Optimum:
        """π*_w, J*(w), E[r] and KL at these weights; `weights` is a preference in any form or K numbers."""
        return optimum(self.log_reference, self.rewards, self.weights(weights), beta)

    def front(self, weights: Sequence[object], beta: float) -> list[Optimum]:
        """The optimum at each of several weights: points of the exact front."""
        return [self.optimum(w, beta) for w in weights]

    def max_min(self, beta: float, names: Sequence[str] | None = None) -> MaxMin:
        """The best policy for the worst-off group (or for the worst of any named rewards)."""
        return max_min(self.log_reference, self.tables_of(names or self.groups), beta)

    def constrained(
        self,
        objective: object,
        beta: float,
        *,
        at_least: Mapping[str, float] | None = None,
        at_most: Mapping[str, float] | None = None,
        equal: Mapping[str, float] | None = None,
    ) -> Constrained:
        """The best policy for the objective's weights that keeps constraints on expected rewards, with its multipliers.

        Args:
            objective: a preference in any form, K numbers, or the name of any reward.
            beta (`float`): the KL coefficient.
            at_least (`Mapping[str, float]`, *optional*): thresholds of any rewards by name. A limit d on the cost is `{"harmless": -d}`.
            at_most (`Mapping[str, float]`, *optional*): the same from above.
            equal (`Mapping[str, float]`, *optional*): the same for equality.

        Raises:
            InputError: an unknown reward, or constraints that no policy keeps.
        """
        kinds: tuple[tuple[Literal["at_least", "at_most", "equal"], Mapping[str, float] | None], ...] = (
            ("at_least", at_least),
            ("at_most", at_most),
            ("equal", equal),
        )
        bounds = [Bound(name, kind, float(limit)) for kind, given in kinds for name, limit in (given or {}).items()]
        if isinstance(objective, str) and "=" not in objective:
            scores = self.tables_of([objective])[..., 0]
        else:
            scores = self.rewards @ self.weights(objective)
        return constrained(self.log_reference, scores, self.tables_of([b.name for b in bounds]), bounds, beta)

    def best_of_n(self, weights: object, n: int, log_probs: Tensor | None = None) -> Tensor:
        """`[P, S]` log-probabilities of the best of n completions by w·r, drawn from the reference or another policy."""
        source = self.log_reference if log_probs is None else log_probs
        return best_of_n(source, self.rewards @ self.weights(weights), n)

    def expected(self, log_probs: Tensor, names: Sequence[str] | None = None) -> Tensor:
        """E[r] of a policy for the named rewards, the objectives by default."""
        return expected(log_probs.detach().cpu().double(), self.tables_of(names or self.objectives))

    # ---- policies

    def policy_distribution(
        self,
        policy: Any,
        preference: Any = None,
        *,
        prompts: Sequence[str | Sequence[int]] | None = None,
        check_end: bool = False,
        batch_size: int = 2048,
        gradients: bool = False,
    ) -> Tensor:
        """The exact log-probability of every completion under any policy, `[P, S]` float64.

        Args:
            policy: a `SteerablePolicy`, a model, or a function from token ids `[B, T]` to logits or log-probabilities `[B, T, V]` (a decoder).
            preference (*optional*): of a `SteerablePolicy`; `None` is its reference.
            prompts (*optional*): P texts (or lists of token ids) to give instead of the world's. A `SteerablePolicy` that is told its preference in the prompt
                gets it there by itself.
            check_end (`bool`, *optional*, defaults to `False`): count the end token too, which is slower; it shows whether training broke the end.
            batch_size (`int`, *optional*, defaults to 2048): sequences at once.
            gradients (`bool`, *optional*, defaults to `False`): let gradients flow, as for training on the exact objective.

        Raises:
            InputError: not a policy, or another number of prompts than the world's.
        """
        if prompts is None and preference is not None and hasattr(policy, "conditioning"):
            prompts = policy.encode(
                self.prompts, policy.weights(preference, 1)
            )  # with what it is told of its preference
        texts = self.prompts if prompts is None else prompts
        if len(texts) != len(self.prompts):
            raise InputError(f"the world has {len(self.prompts)} prompts, found {len(texts)}")
        ids = [self.tokenizer(t)["input_ids"] if isinstance(t, str) else list(t) for t in texts]
        if not all(ids):
            raise InputError("a prompt is empty: every one needs at least one token")
        end = self.tokenizer.eos_token_id if check_end else None
        with torch.set_grad_enabled(gradients), reading(policy, preference) as (logits, device):
            return completion_log_probs(logits, ids, self._steps, end=end, batch_size=batch_size, device=device)

    def measure(self, log_probs: Tensor, weights: object, beta: float) -> Measurement:
        """Exact rewards, KL, value and share of the possible gain of a policy given by its log-probabilities `[P, S]`."""
        return measure(log_probs, self.log_reference, self.rewards, self.weights(weights), beta)

    def gain(self, policy: Any, weights: object, beta: float, **options: Any) -> float:
        """The fraction of the possible gain that a policy reaches: 0 for the reference, 1 for the optimum.

        Args:
            policy: log-probabilities `[P, S]`, or anything that `policy_distribution` reads; a `SteerablePolicy` is asked for `weights`.
            weights: a preference in any form or K numbers.
            beta (`float`): the KL coefficient.
            options: of `policy_distribution`.
        """
        if not isinstance(policy, Tensor):
            asked = None
            if hasattr(policy, "mixture"):
                listed = dict(zip(self.objectives, self.weights(weights).tolist(), strict=True))
                asked = weights if isinstance(weights, str | Mapping) or hasattr(weights, "kind") else listed
            policy = self.policy_distribution(policy, options.pop("preference", asked), **options)
        return self.measure(policy, weights, beta).gain

    def judged_by(self, scores: Tensor, name: str = "score") -> "OracleWorld":
        """The same world with one reward of your own, to hold what you train against its optimum.

        A scalarizer that judges each completion for itself is such a reward: `world.judged_by(scalarizer(world.rewards, weights)).gain(policy, [1.0], beta)`.

        Args:
            scores (`Tensor`): `[P, S]`, maximised, in units of your own.
            name (`str`, *optional*, defaults to `"score"`): of the one objective.

        Raises:
            InputError: another shape, or a score that is not finite.
        """
        if scores.shape != self.log_reference.shape or not scores.isfinite().all():
            raise InputError(
                f"scores must be finite and {list(self.log_reference.shape)} (prompts, completions), found {list(scores.shape)}"
            )
        other = copy.copy(self)
        other.config = dataclasses.replace(self.config, objectives=(name,))
        other.rewards = scores.detach().cpu().double().unsqueeze(-1)
        other._tables = torch.cat([other.rewards, self.group_rewards, -self.cost.unsqueeze(-1)], -1)
        other.reward = other.reward_of([name])
        return other
