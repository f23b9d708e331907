"""What every way of telling the policy its preference does, and how a bundle names the one that it was trained with."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from frontier.errors import InputError, unknown_name

Text = str | list[dict[str, str]]


class Conditioning(Protocol):
    """How the policy is told the preference: through which adapters at which weights, and through what its prompt says.

    Attributes:
        kind: the name in `steer.json`.
        objectives: the K names, in the order of every weight vector.
        adapters: the A adapters that make up the policy; each is one PEFT folder of the bundle.
        linear: whether the policy's weights at w are linear in w, so that a point can be scaled, exported and merged.
    """

    kind: str
    objectives: tuple[str, ...]
    adapters: tuple[str, ...]
    linear: bool

    def mixing(self, weights: Tensor) -> Tensor:
        """`[B, K]` preferences to the `[B, A]` weights of the adapters; a zero row is the reference policy and stays zero."""
        ...

    def prompts(self, prompts: Sequence[Text], weights: Tensor) -> list[Text]:
        """What the policy reads in place of B prompts under `[B, K]` preferences; a zero row's prompt stays as it is."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As JSON values, `adapters` among them."""
        ...


def conditioning_from_json(values: Mapping[str, Any] | None, objectives: Sequence[str]) -> Conditioning:
    """The conditioning that a bundle names; an adapter mixture where it names none.

    Raises:
        InputError: an unknown kind, or settings that do not fit it.
    """
    from moalign.conditioning.adapter_mixture import MixtureConditioning
    from moalign.conditioning.prompt import PromptConditioning
    from moalign.conditioning.unconditioned import Unconditioned

    kinds = {kind.kind: kind for kind in (MixtureConditioning, PromptConditioning, Unconditioned)}
    given = dict(values or {"kind": MixtureConditioning.kind})
    kind = given.pop("kind", None)
    given.pop("adapters", None)  # they follow from the rest; written for readers that know no conditioning
    if kind not in kinds:
        raise unknown_name("conditioning", str(kind), kinds)
    try:
        made: Conditioning = kinds[kind](objectives, **given)
    except TypeError as error:
        raise InputError(f"conditioning '{kind}': {error}") from error
    return made
