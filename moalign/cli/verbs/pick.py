"""`moalign pick`: choose a point of a measured front, and say what it costs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.measured_front import measured_front

if TYPE_CHECKING:
    from frontier.choose import Selection
    from frontier.front import ParetoFront

INFEASIBLE = 3


@dataclass
class PickOptions:
    """Options of `moalign pick`."""

    bundle: str = field(metadata=about("The bundle, or a folder with a front.json.", positional=True))
    min: dict[str, float] | None = field(
        default=None, metadata=about("Least mean reward of an objective: safety=0.3. May be repeated.")
    )
    max: dict[str, float] | None = field(
        default=None, metadata=about("Largest mean reward of an objective. May be repeated.")
    )
    maximize: str | None = field(
        default=None, metadata=about("The best on this objective, or on a weighted sum: helpful=2,brief=1.")
    )
    aspire: dict[str, float] | None = field(
        default=None, metadata=about("A wished mean reward per objective: helpful=0.8,brief=0.5.")
    )
    knee: bool = field(default=False, metadata=about("The point where the trade-off turns."))
    compromise: bool | dict[str, float] | None = field(
        default=None,
        metadata=about(
            "The point nearest to the best of everything; weights say whose gap counts more: helpful=2,brief=1."
        ),
    )
    p: float | None = field(
        default=None,
        metadata=about("Of --compromise: 1 sums the gaps, 2 (the default) their squares, inf takes the largest."),
    )
    pseudo_weights: dict[str, float] | None = field(
        default=None, metadata=about("The point that lies there among the others: helpful=0.7,brief=0.3.")
    )
    confidence: float | None = field(
        default=None, metadata=about("--min and --max must hold with this one-sided confidence, such as 0.95.")
    )
    front: str | None = field(
        default=None, metadata=about("The front to choose from, by default the bundle's front.json.")
    )
    json: bool = field(default=False, metadata=about("Print JSON."))


COMMAND = Command(
    "pick",
    "Pick a point of a measured front: the best on something under constraints (--maximize with --min and --max), nearest to a wish (--aspire), "
    "where the trade-off turns (--knee), nearest to the best of everything (--compromise), or at a place among the others (--pseudo-weights). Prints its weights, its expected rewards and their standard errors.",
    (PickOptions,),
    details="Rewards are in the front's units: as normalised by the reference policy, unless the bundle has no normaliser.\n"
    f"Exit code {INFEASIBLE}: no point satisfies --min and --max; the one that comes nearest is shown.",
)


def run(arguments: Sequence[str]) -> int:
    """Print the chosen point."""
    values = parse(COMMAND, arguments)
    if values is None:
        return 0
    options = values.build(PickOptions)
    goals = (options.maximize, options.aspire, options.knee, options.compromise, options.pseudo_weights)
    if not any((*goals, options.min, options.max)):
        raise InputError(
            "say what to pick by: --maximize OBJECTIVE (with --min and --max), --aspire helpful=0.8,brief=0.5, --knee, --compromise, or "
            "--pseudo-weights helpful=0.7,brief=0.3"
        )
    front = measured_front(options.bundle, options.front, samples=False)
    from frontier.choose import pick

    selection = pick(
        front,
        minimum=options.min,
        maximum=options.max,
        maximize=_goal(options.maximize),
        aspire=options.aspire,
        knee=options.knee,
        compromise=options.compromise,
        p=options.p,
        pseudo_weights=options.pseudo_weights,
        confidence=options.confidence,
    )
    say(json.dumps(_document(front, selection), indent=2) if options.json else _text(front, selection, options.bundle))
    constrained = options.min is not None or options.max is not None
    return INFEASIBLE if constrained and not selection.feasible else 0


def _goal(text: str | None) -> str | dict[str, float] | None:
    if text is None or "=" not in text:
        return text
    from moalign.cli.values import Mismatch, convert

    try:
        return convert(text, dict[str, float])
    except Mismatch as error:
        raise InputError(f"--maximize: found {text!r}, expected an objective, or {error}") from error


def _document(front: "ParetoFront", selection: "Selection") -> dict[str, Any]:
    point = selection.point
    return {
        "preference": point.preference,
        "rewards": dict(zip(front.objectives, point.rewards, strict=True)),
        # NaN = not known, for which JSON has null
        "standard_error": {
            n: e if e == e else None for n, e in zip(front.objectives, point.standard_error, strict=True)
        },
        "n_prompts": point.n_prompts,
        "kl": point.kl,
        "index": selection.index,
        "feasible": selection.feasible,
        "violations": selection.violations,
        "reason": selection.reason,
        "normalizer": front.normalizer,
    }


def _text(front: "ParetoFront", selection: "Selection", bundle: str) -> str:
    point = selection.point
    width = max(len(name) for name in front.objectives)
    lines = [selection.reason, ""]
    asked = None
    if point.preference is not None:
        from moalign.preference import Preference

        asked = str(Preference.from_json(point.preference, front.objectives))
        lines.append(f"preference: {asked}")
    weights = point.weights(front.objectives)
    for k, name in enumerate(front.objectives):
        weight = f"weight {weights[k]:.3f}   " if weights else ""
        lines.append(f"  {name:<{width}}  {weight}reward {point.rewards[k]:.3f} ± {point.standard_error[k]:.3f}")
    lines.append(
        f"(mean ± standard error over {point.n_prompts} prompts"
        + (f", KL {point.kl:.3f} nats)" if point.kl is not None else ")")
    )
    if asked is not None:
        lines += ["", f"Use it: moalign generate {bundle} --preference {asked} --prompt TEXT"]
    return "\n".join(lines)
