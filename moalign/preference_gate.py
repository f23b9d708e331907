"""Say what a prompt asks for where nobody said it: preferences from a gate that was fitted on pairs or on responses that people liked."""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from moalign.preference import KINDS, Preference
from reward_heads.gating import Gate
from reward_heads.normalizer import Normalizer
from reward_heads.text import Text, text_key

STEPS = 1000
"""Weights are whole numbers of thousandths: readable in a response, and equal where nobody could tell them apart."""


class PreferenceGate:
    """A source of [`Preference`]s: prompts in, one preference each out.

    A gate weighs rewards over the scale g of its own normalizer, a policy over the scale p of the one it was trained with. Weights w of $r_k / g_k$ are weights in proportion to
    $w_k p_k / g_k$ of $r_k / p_k$, and those are the preference. Where the gate or the policy has no normalizer (its rewards were normalised already), w is taken as it is.

    Preferences of the prompts asked for last are remembered. Safe to use from several threads; prompts that are not remembered are embedded one call at a time.

    Args:
        gate (`Gate`): with an embedder; its objectives must be those of the policy, in any order.
        objectives (`Iterable[str]`): the policy's.
        kind (`str`, *optional*, defaults to `"weights"`): what the policy is steered by: `"weights"`, or `"direction"`, for which the weights are scaled to length 1.
        max_entries (`int`, *optional*, defaults to 10000): how many prompts are remembered.
        normalizer (`Normalizer`, *optional*): the policy's; `None` = it has none, and takes the gate's weights as they are.

    Raises:
        InputError: the gate or the normalizer has other objectives, the gate has no embedder, or an unknown kind.

    Example:
        ```python
        units = policy.normalizer and Normalizer.from_json(policy.normalizer)
        gate = PreferenceGate.from_pretrained("gated", policy.objectives, normalizer=units)
        policy.generate(prompts, gate.preferences(prompts))
        ```
    """

    def __init__(
        self,
        gate: Gate,
        objectives: Iterable[str],
        *,
        kind: str = "weights",
        max_entries: int = 10_000,
        normalizer: Normalizer | None = None,
    ) -> None:
        self.objectives = check_objectives(objectives)
        check_same_objectives(gate.objectives, self.objectives)
        if gate.embedder is None:
            raise InputError("this gate was fitted on embeddings and has no embedder, so it can't read prompts")
        if kind not in KINDS:
            raise unknown_name("kind of preference", kind, KINDS)
        if max_entries < 1:
            raise InputError(f"max_entries must be at least 1, found {max_entries}")
        self.gate = gate
        self._units = _units(gate, normalizer)
        self.kind = kind
        self.max_entries = max_entries
        self._known: OrderedDict[bytes, Preference] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        objectives: Iterable[str],
        *,
        kind: str = "weights",
        device: str | None = None,
        normalizer: Normalizer | None = None,
    ) -> "PreferenceGate":
        """Load the gate of a folder that `Gate.save_pretrained` or `GatedReward.save_pretrained` wrote; a reward beside it is not loaded.

        Args:
            folder (`str` or path): with `gate.json`.
            objectives (`Iterable[str]`): the policy's.
            kind (`str`, *optional*, defaults to `"weights"`): as in the constructor.
            device (`str`, *optional*): of the encoder, by default the CPU.
            normalizer (`Normalizer`, *optional*): the policy's, as in the constructor.

        Raises:
            InputError: the folder is broken, its encoder is missing or another, or the objectives differ.
        """
        return cls(Gate.from_pretrained(folder, device=device), objectives, kind=kind, normalizer=normalizer)

    def preferences(self, prompts: Sequence[Text]) -> list[Preference]:
        """One preference per prompt, standard or conversational.

        Raises:
            InputError: a prompt has the wrong form, or `prompts` is a single text.
        """
        if isinstance(prompts, str):
            raise InputError("prompts must be a list of texts, found one string: write [text]")
        keys = [_key(prompt) for prompt in prompts]
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
            new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in found}
            if new:
                weights = self.gate.weights(list(new.values())).tolist()
                for key, row in zip(new, weights, strict=True):
                    found[key] = self._preference(dict(zip(self.gate.objectives, row, strict=True)))
            for key in keys:
                self._known[key] = found[key]
                self._known.move_to_end(key)
            while len(self._known) > self.max_entries:
                self._known.popitem(last=False)
        return [found[key] for key in keys]

    def _preference(self, weights: Mapping[str, float]) -> Preference:
        rounded = rounded_weights({name: weights[name] * self._units[name] for name in self.objectives})
        return Preference(rounded) if self.kind == "weights" else Preference.direction(rounded, normalize=True)


def check_same_objectives(gate: Iterable[str], policy: Sequence[str]) -> None:
    """Refuse a gate that can't steer this policy: one it doesn't weigh would silently count for nothing.

    Raises:
        InputError: names the objective that only one of them has.
    """
    names = tuple(gate)
    for name in names:
        if name not in policy:
            raise InputError(f"the gate doesn't fit the policy: {unknown_name('objective of the gate', name, policy)}")
    missing = [name for name in policy if name not in names]
    if missing:
        raise InputError(
            f"the gate doesn't fit the policy: it doesn't weigh '{missing[0]}'; it has {', '.join(names)}, the policy {', '.join(policy)}"
        )


def rounded_weights(weights: Mapping[str, float], steps: int = STEPS) -> dict[str, float]:
    """Weights as multiples of `1 / steps` that sum to 1: rounded down, and what is missing given to those that lost most (largest remainders).

    Args:
        weights (`Mapping[str, float]`): not negative, not all 0; only their ratios count.
        steps (`int`, *optional*, defaults to 1000): how fine.

    Example:
        >>> rounded_weights({"helpful": 0.66666, "brief": 0.33334}, steps=10)
        {'helpful': 0.7, 'brief': 0.3}
    """
    total = sum(weights.values())
    exact = {name: weight / total * steps for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in order[: steps - sum(counts.values())]:
        counts[name] += 1
    return {name: count / steps for name, count in counts.items()}


def _units(gate: Gate, normalizer: Normalizer | None) -> dict[str, float]:
    """Objective to what one unit of the policy's reward is in units of the gate's, over the largest such number."""
    if normalizer is None:
        return dict.fromkeys(gate.objectives, 1.0)
    units = normalizer.select(gate.objectives)
    if gate.normalizer is None:  # fitted on a NormalizedReward, whose units it doesn't know
        return dict.fromkeys(gate.objectives, 1.0)
    ratios = [p / g for p, g in zip(units.scale, gate.normalizer.scale, strict=True)]
    return {name: ratio / max(ratios) for name, ratio in zip(gate.objectives, ratios, strict=True)}


def _key(prompt: Text) -> bytes:
    """A fingerprint instead of the prompt, so that long prompts don't fill the memory."""
    return hashlib.sha256(repr(text_key(prompt)).encode("utf-8", "surrogatepass")).digest()
