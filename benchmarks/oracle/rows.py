"""Turn the results of jobs into rows: mean and spread over seeds, the worst world and β for the bar."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.jobs import Result
from benchmarks.report import Row, at_least, at_most

GAIN = "of the possible gain"


def broken(results: Sequence[Result], row_id: str, unit: str = GAIN, bar: str | None = None) -> list[Row]:
    """A row that does not hold for each job that failed, with its reason."""
    return [Row(row_id, f"{_cell(r)}: failed: {r.error}", None, unit, bar=bar, holds=False) for r in results if r.error]


def cells(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The successful results by world and β, in order."""
    grouped: dict[str, list[Result]] = {}
    for result in results:
        if result.error is None:
            grouped.setdefault(_cell(result), []).append(result)
    return grouped


def gain_rows(
    name: str,
    results: Sequence[Result],
    peers: Mapping[str, Sequence[Result]],
    bars: tuple[float | None, float | None] | None,
    what: str,
    judged: Sequence[str] | None = None,
    note: str = "",
) -> list[Row]:
    """`NAME.gain.mean` and `NAME.gain.min` (the worst cell, which the bars judge), then both per world and β beside the peers.

    Args:
        name (`str`): of the method.
        results: of its jobs; `figures["gains"]` holds one gain per weight vector.
        peers: label to results, in the same cells.
        bars (`tuple`, *optional*): for the mean and the minimum, `None` where there is none.
        what (`str`): description.
        judged (`Sequence[str]`, *optional*): the cells that the bars are for, as `covered.beta1`; the others are only reported. All by default.
        note (`str`, *optional*): the reason that a missed bar is known to have.
    """
    rows: list[Row] = []
    summary: dict[str, list[tuple[float, list[float]]]] = {"mean": [], "min": []}
    for cell, found in cells(results).items():
        seconds = sum(r.seconds for r in found) / len(found)
        text = f"{what}, {_named(cell)}; {found[0].figures['updates']} updates, {seconds:.0f} s, {_seeds(found)}"
        for kind, summarise in (("mean", _mean), ("min", min)):
            values = [summarise(r.figures["gains"]) for r in found]
            if judged is None or cell in judged:
                summary[kind].append((_mean(values), values))
            rows.append(
                Row(
                    f"{name}.gain.{kind}.{cell}",
                    text + _peers(peers, cell, summarise),
                    _mean(values),
                    GAIN,
                    interval=[min(values), max(values)],
                    **_first_peer(peers, cell, summarise),
                )
            )
    head = []
    for kind, bar in zip(("mean", "min"), bars or (None, None), strict=True):
        if not summary[kind]:
            continue
        value, spread = min(summary[kind])
        verdict = at_least(bar, value) if bar is not None else {}
        reason = f"; {note}" if note and verdict and not verdict["holds"] else ""
        text = f"{what}: {kind} over ten weights, mean over seeds, of the world and β where it is least{reason}"
        head.append(Row(f"{name}.gain.{kind}", text, value, GAIN, interval=[min(spread), max(spread)], **verdict))
    bar_text = f">= {bars[0]:g}" if bars and bars[0] is not None else None
    return [*head, *rows, *broken(results, f"{name}.gain", bar=bar_text)]


def value_row(
    row_id: str,
    results: Sequence[Result],
    key: str,
    what: str,
    unit: str,
    worst: Any,
    bar: float | None = None,
    judge_worst: bool = False,
) -> list[Row]:
    """One figure over all runs: its mean, or its worst.

    Args:
        row_id (`str`): stable name.
        results: of the jobs.
        key (`str`): which of their figures.
        what (`str`): description.
        unit (`str`): of the figure.
        worst: `min` where the bar is a least value, `max` where it is a greatest.
        bar (`float`, *optional*): the target.
        judge_worst (`bool`, *optional*, defaults to `False`): report and judge the worst run instead of the mean.
    """
    values = [float(r.figures[key]) for r in results if r.error is None]
    if not values:
        return broken(results, row_id, unit)
    mean = worst(values) if judge_worst else _mean(values)
    judge = at_least if worst is min else at_most
    seconds = _mean([r.seconds for r in results if r.error is None])
    text = f"{what}; {seconds:.0f} s, {_seeds([r for r in results if r.error is None])}, worst {worst(values):.4g}"
    row = Row(
        row_id, text, mean, unit, interval=[min(values), max(values)], **(judge(bar, mean) if bar is not None else {})
    )
    return [row, *broken(results, row_id, unit)]


def _cell(result: Result) -> str:
    settings = result.job.settings
    kind = settings.get("kind", "covered")
    return f"{kind}.beta{settings['beta']:g}" if "beta" in settings else str(kind)


def _named(cell: str) -> str:
    kind, _, beta = cell.partition(".beta")
    return f"{kind} world, β {beta}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _seeds(found: Sequence[Result]) -> str:
    return f"{len(found)} seed{'s' if len(found) > 1 else ''}"


def _peers(peers: Mapping[str, Sequence[Result]], cell: str, summarise: Any) -> str:
    parts = []
    for label, results in peers.items():
        there = cells(results).get(cell)
        if there:
            value = _mean([summarise(r.figures["gains"]) for r in there])
            seconds = _mean([r.seconds for r in there])
            parts.append(f"{label}: {value:.3f} ({there[0].figures['updates']} updates, {seconds:.0f} s)")
    return f". Peers: {'; '.join(parts)}" if parts else ""


def _first_peer(peers: Mapping[str, Sequence[Result]], cell: str, summarise: Any) -> dict[str, Any]:
    for label, results in peers.items():
        there = cells(results).get(cell)
        if there:
            return {"peer": label, "peer_value": _mean([summarise(r.figures["gains"]) for r in there])}
    return {}
