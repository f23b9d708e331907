"""Say a comparison of fronts: as a table for people and as JSON."""

import math
from typing import TYPE_CHECKING, Any

from frontier.compare import Figure, FrontComparison
from frontier.tables import aligned

if TYPE_CHECKING:
    from frontier.measure.uncertainty.estimate import Estimate


def comparison_text(found: FrontComparison) -> str:
    """See `FrontComparison.table`."""
    first, *others = found.labels
    place = ", ".join(f"{n} {v:.3f}" for n, v in zip(found.objectives, found.reference_point, strict=True))
    header = ["", *found.labels, *(f"{first} - {other}" for other in others), *(f"p ({other})" for other in others)]
    if len(others) == 1:
        header[-1] = "p"
    rows = [header]
    for figure in found.figures:
        tests = [figure.tests.get(other) for other in others]
        differences = ["" if t is None else _interval(t.comparison.difference) for t in tests]
        chances = ["" if t is None else f"{t.comparison.p_value:.2g}" for t in tests]
        rows.append([figure.title, *(_value(figure, label) for label in found.labels), *differences, *chances])
    head = f"Hypervolume above {place}."
    if found.normalizer is None:
        head += " Rewards are in their own units."
    if any(figure.estimates or figure.tests for figure in found.figures):
        head += f"\nWith {_level(found)} % intervals over prompts, and without what the best of noisy means is too high by; the plain figures are in the JSON."
    lines = [head, "", aligned(rows, left=1)]
    verdicts = [line for other in others for figure in found.figures for line in _verdict(figure, first, other)]
    return "\n".join([*lines, *([""] if verdicts else []), *verdicts, *([""] if found.notes else []), *_notes(found)])


def comparison_json(found: FrontComparison) -> dict[str, Any]:
    """See `FrontComparison.to_json`."""
    return {
        "fronts": list(found.labels),
        "objectives": list(found.objectives),
        "reference_point": list(found.reference_point),
        "normalizer": found.normalizer,
        "figures": {figure.name: _figure_json(figure) for figure in found.figures},
        "notes": list(found.notes),
    }


def _figure_json(figure: Figure) -> dict[str, Any]:
    tests = {
        other: {
            "verdict": test.verdict,
            "difference": test.comparison.difference.to_json(),
            "p_value": test.comparison.p_value,
            "more_prompts": _finite(test.needed.more),
            "assumptions": test.needed.assumptions,
        }
        for other, test in figure.tests.items()
    }
    return {
        "values": {label: _finite(value) for label, value in figure.values.items()},
        "estimates": {label: estimate.to_json() for label, estimate in figure.estimates.items()},
        "tests": tests,
    }


def _verdict(figure: Figure, first: str, other: str) -> list[str]:
    test = figure.tests.get(other)
    if test is None:
        return []
    prompts = test.comparison.difference.n_prompts
    if test.verdict != "not decided":
        return [f"{figure.title}: {test.verdict} is better (p = {test.comparison.p_value:.2g}, {prompts} prompts)"]
    more = test.needed.more
    if math.isinf(more):
        return [
            f"{figure.title}: not decided between {first} and {other}; no number of prompts would show a difference of 0"
        ]
    return [
        f"{figure.title}: not decided between {first} and {other}; about {more:.0f} more prompts would decide with probability {test.needed.power:g} if the difference is "
        f"{test.needed.effect:.3g}"
    ]


def _value(figure: Figure, label: str) -> str:
    value, estimate = figure.values[label], figure.estimates.get(label)
    if math.isnan(value):
        return "–"
    return f"{value:.4f}" if estimate is None else _interval(estimate)


def _interval(estimate: "Estimate") -> str:
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _level(found: FrontComparison) -> str:
    levels = [e.level for figure in found.figures for e in figure.estimates.values()]
    levels += [t.comparison.difference.level for figure in found.figures for t in figure.tests.values()]
    return f"{100 * levels[0]:.4g}" if levels else "95"


def _notes(found: FrontComparison) -> list[str]:
    return [f"Note: {note}" for note in found.notes]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
