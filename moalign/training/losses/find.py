"""Name a loss as TRL does, in a configuration or on the command line, and get it."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from frontier.errors import InputError, unknown_name
from moalign.training.losses.apo import ApoDown, ApoZero
from moalign.training.losses.base import Loss
from moalign.training.losses.bco import BcoPair
from moalign.training.losses.discopop import DiscoPop
from moalign.training.losses.divergence import find_divergence
from moalign.training.losses.exo import ExoPair
from moalign.training.losses.hinge import Hinge
from moalign.training.losses.ipo import Ipo
from moalign.training.losses.nca import NcaPair
from moalign.training.losses.robust import Robust
from moalign.training.losses.sigmoid import ConservativeSigmoid, Sigmoid, SigmoidNorm
from moalign.training.losses.simpo import SimPo
from moalign.training.losses.sppo import SppoHard

_DIFFERENCE = (Sigmoid, SigmoidNorm, ConservativeSigmoid, Robust, Hinge, Ipo, ExoPair, DiscoPop, SimPo)
_LEVEL = (ApoZero, ApoDown, NcaPair, BcoPair, SppoHard)

LOSSES: Mapping[str, type[Any]] = MappingProxyType({kind.name: kind for kind in (*_DIFFERENCE, *_LEVEL)})
"""Every loss by its name; those built on the score difference first."""

# Names that TRL's users know, and why they aren't here.
_ELSEWHERE = {
    "aot": "it sorts the batch, so that no pair has a loss, label or margin of its own",
    "aot_unpaired": "it sorts the batch, so that no pair has a loss, label or margin of its own",
    "sft": "it compares nothing; add the log-probs of the chosen completions in the learner",
}


def find_loss(name: str, **options: Any) -> Loss:
    """The loss of that name, which is TRL's `loss_type` where TRL has it; `cdpo` and `simpo` are those that it hasn't.

    Args:
        name (`str`): one of `LOSSES`.
        **options: the fields of the loss: `label_smoothing` (cdpo, robust, exo_pair), `tau` (discopop), `gamma` (simpo), `per_token` (ipo), and for
            the losses of a difference to the reference `divergence`, given by name or as an object; `alpha` goes with `divergence="alpha_divergence"`.

    Raises:
        InputError: an unknown name or option, or an option out of range.

    Example:
        >>> find_loss("hinge", divergence="js_divergence")
        Hinge(divergence=JensenShannon())
    """
    if name in _ELSEWHERE:
        raise InputError(f"there is no loss '{name}' here: {_ELSEWHERE[name]}. Valid: {', '.join(LOSSES)}")
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    known = [field.name for field in fields(LOSSES[name])]
    if "divergence" in options:
        if "divergence" not in known:
            raise InputError(f"loss '{name}' has no form for other divergences: it is no function of f'(a) - f'(b)")
        options = _with_divergence(**options)
    if "alpha" in options and "divergence" in known:
        raise InputError('alpha goes with divergence="alpha_divergence"')
    for option in options:
        if not known:
            raise InputError(f"loss '{name}' has no options, found '{option}'")
        if option not in known:
            raise unknown_name(f"option of loss '{name}'", option, known)
    loss: Loss = LOSSES[name](**options)
    return loss


def _with_divergence(divergence: object, **options: Any) -> dict[str, Any]:
    """The options with the divergence that was named, which takes `alpha` with it."""
    if callable(divergence):
        return {"divergence": divergence, **options}
    alpha = {"alpha": options.pop("alpha")} if "alpha" in options else {}
    return {"divergence": find_divergence(str(divergence), **alpha), **options}
