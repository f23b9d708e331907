"""One HTML file with everything in it: no script, no request, readable in print and without colour."""

import base64
import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from frontier.atomic import write_text
from reward_heads.calibrate.reliability import plot_reliability
from reward_heads.diagnose.accuracy import PairAccuracy
from reward_heads.diagnose.correlation import CorrelationReport
from reward_heads.diagnose.disagreement import Disagreement
from reward_heads.diagnose.everything import Diagnosis
from reward_heads.diagnose.report import Estimate, number, shorten
from reward_heads.report.evaluation import RewardReport

_STYLE = """
:root { color-scheme: light; --ink: #1d2430; --soft: #5b6575; --line: #dfe3ea; --blue: #1a52b0; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .5rem; }
p, li { max-width: 52rem; } .soft { color: var(--soft); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th { text-align: left; font-weight: 600; }
th, td { padding: .32rem .8rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; } td { white-space: nowrap; } .matrix td, .matrix th { text-align: center; padding: .4rem .6rem; border: 2px solid #fff; }
.matrix th:first-child { text-align: right; } img { max-width: 100%; height: auto; } svg { display: block; }
details { border-bottom: 1px solid var(--line); padding: .45rem 0; } summary { cursor: pointer; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: .8rem; margin: .5rem 0 .3rem; }
.text { background: #f5f7fa; border-radius: 6px; padding: .6rem .75rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.tag { display: inline-block; min-width: 4.2rem; font-weight: 600; }
@media print { details { break-inside: avoid; } }
"""


def write_page(report: RewardReport, path: str | os.PathLike[str]) -> Path:
    """Write [`page`] to a file, whole or not at all."""
    # Half of a surrogate pair, which JSON can bring in with a text, has no place in a file of UTF-8.
    write_text(path, page(report).encode(errors="replace").decode())
    return Path(path)


def page(report: RewardReport) -> str:
    """The report as one self-contained HTML page."""
    title = f"Reward report{': ' + report.name if report.name else ''}"
    found = report.diagnosis
    counts = f"{found.n_texts} completions, {found.n_pairs} labelled pairs, {found.n_ratings} rated completions"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(", ".join(found.objectives))}. {counts}, none of which should have been trained on.</p>',
        *_accuracy(found, report.unknown),
        *_calibration(found),
    ]
    if len(found.objectives) > 1:
        parts += _correlation(found.correlation)
    parts += [*_labels(found), *_disagreements(found), *_left_out(found)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _accuracy(report: Diagnosis, unknown: dict[str, int]) -> list[str]:
    level = f"{100 * report.accuracy.level:g} %"
    parts = ["<h2>Accuracy</h2>"]
    compared = [(p, "pairs") for p in report.accuracy.pairs]
    compared += [(r.within, "ratings") for r in report.accuracy.ratings if r.within.n]
    if compared:
        head = ["objective", "", "accuracy", f"{level} interval", "majority", "comparisons", "prompts", "from"]
        rows = [
            [
                p.objective,
                _whisker(p),
                number(p.accuracy.value),
                _span(p.accuracy),
                number(p.majority),
                str(p.n),
                str(p.clusters),
                source,
            ]
            for p, source in compared
        ]
        parts.append(_table(head, rows, raw=(1,), right=(2, 4, 5, 6)))
        parts.append(
            '<p class="soft">How often the head ranks two completions as people do; equal scores count half. The dot and its line: accuracy and interval (drawn over '
            "prompts, since labels of one prompt hang together); the short bar: always choosing the commoner answer (from ratings, a coin). <i>From ratings</i>: every two completions of one prompt with different ratings.</p>"
        )
    if report.accuracy.ratings:
        head = ["objective", "Spearman", "Pearson", "R²", "ratings", "prompts"]
        rows = [
            [r.objective, str(r.spearman), str(r.pearson), str(r.r2), str(r.n), str(r.clusters)]
            for r in report.accuracy.ratings
        ]
        parts.append(_table(head, rows, right=(4, 5)))
    lost = [f"{name}: {n} of {report.n_texts}" for name, n in unknown.items() if n]
    if lost:
        parts.append(f"<p>Not scored: {escape(', '.join(lost))} texts.</p>")
    return parts


def _calibration(report: Diagnosis) -> list[str]:
    if not report.calibration:
        return []
    with tempfile.TemporaryDirectory() as folder:
        picture = plot_reliability(report.calibration, Path(folder) / "reliability.png", dpi=130).read_bytes()
    image = base64.b64encode(picture).decode("ascii")
    worst = max(report.calibration, key=lambda e: e.debiased.value)
    words = (
        f"Largest debiased error: {escape(worst.objective)}, {escape(str(worst.debiased))}. A head above 0.05 should be calibrated before its numbers are read as "
        "probabilities: <code>moalign reward calibrate</code>."
    )
    return [
        "<h2>Calibration</h2>",
        f'<img alt="Reliability diagrams, one panel per objective" src="data:image/png;base64,{image}">',
        f"<p>{words}</p>",
    ]


def _correlation(found: CorrelationReport) -> list[str]:
    where = "within prompts" if found.basis == "within" else "over all completions"
    names = found.objectives
    lines = ["<tr><th></th>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"]
    for name, row in zip(names, found.matrix, strict=True):
        cells = "".join(f'<td style="{_shade(value)}">{number(value, 2)}</td>' for value in row)
        lines.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    rows = [[r.objective, str(r.r2), number(r.vif, 1)] for r in found.redundancy]
    silent = f" Left out, since constant or never known: {escape(', '.join(found.left_out))}." if found.left_out else ""
    return [
        "<h2>Do the heads say different things?</h2>",
        f"<p>Effective number of objectives: <b>{escape(str(found.effective))}</b> of {found.n_used}.{silent} Correlation of the scores {where}:</p>",
        f'<div class="scroll"><table class="matrix">{"".join(lines)}</table></div>',
        "<ul>" + "".join(f"<li>{escape(pair.finding)}</li>" for pair in found.pairs) + "</ul>",
        _table(["explained by the other heads", "R²", "variance inflation"], rows, right=(2,)),
    ]


def _labels(report: Diagnosis) -> list[str]:
    """What can be said of the labels themselves: noise, annotators, cycles."""
    parts = []
    if report.noise is not None:
        rows = [[o.objective, str(o.rate), number(o.scale, 2), str(o.n), o.warning] for o in report.noise.objectives]
        parts.append(_table(["objective", "flipped labels", "nats per unit", "pairs", "beware"], rows, right=(2, 3)))
    for agreement in report.agreement:
        alpha = [
            f"{what} {value}"
            for what, value in (("pairs", agreement.alpha_pairs), ("ratings", agreement.alpha_ratings))
            if value.value == value.value
        ]
        odd = [f"{a.user} ({number(a.agreement, 2)} of {a.n})" for a in agreement.annotators if a.flagged]
        if alpha:
            parts.append(f"<p>{escape(agreement.objective)}: Krippendorff's alpha of {escape(', '.join(alpha))}.</p>")
        if odd:
            words = (
                f"{len(odd)} of {len(agreement.annotators)} annotators follow the head less often than chance explains"
            )
            parts.append(f"<p>{escape(agreement.objective)}: {words}: {escape(', '.join(odd[:12]))}.</p>")
    parts += [f"<p>{escape(cycles.objective)}: {escape(cycles.finding)}</p>" for cycles in report.intransitivity]
    return ["<h2>The labels</h2>", *parts] if parts else []


def _disagreements(report: Diagnosis) -> list[str]:
    parts = []
    found = report.disagreement
    if found.conflicts:
        parts.append("<h2>Where heads disagree most</h2>")
        shares = [[names, number(share, 2)] for names, share in found.conflict_share.items()]
        parts.append(_table(["heads that rank a pair in opposite ways", "share of pairs"], shares, right=(1,)))
        parts += [_row(one, "standard deviations apart") for one in found.conflicts]
    if found.surprises:
        parts.append("<h2>Where people disagree with a head most</h2>")
        parts += [_row(one, "nats of surprise") for one in found.surprises]
    return parts


def _left_out(report: Diagnosis) -> list[str]:
    if not report.left_out:
        return []
    items = "".join(f"<li>{escape(what)}: {escape(why)}</li>" for what, why in report.left_out.items())
    return ["<h2>What these rows can't tell</h2>", f"<ul>{items}</ul>"]


def _row(one: Disagreement, unit: str) -> str:
    labels = ", ".join(f"{name} {number(value, 2)}" for name, value in one.labels.items()) or "none"
    who = f" by {escape(one.user)}" if one.user is not None else ""
    texts = [("a" if one.other is not None else "completion", one.completion, one.scores)]
    if one.other is not None:
        texts.append(("b", one.other, one.other_scores or {}))
    cards = "".join(
        f'<div><b>{letter}</b> <span class="soft">{escape(_scores(scores))}</span><div class="text">{escape(text)}</div></div>'
        for letter, text, scores in texts
    )
    prompt = (
        f'<div class="text"><span class="soft">prompt</span> {escape(one.prompt)}</div>' if one.prompt.strip() else ""
    )
    head = f'<span class="tag">{number(one.amount, 2)}</span>{escape(" against ".join(one.objectives))}'
    excerpt = escape(shorten(one.completion, 48))
    return (
        f'<details><summary>{head} <span class="soft">{unit}, row {one.row}: {excerpt}</span></summary>{prompt}<div class="pair">{cards}</div>'
        f'<p class="soft">Labels{who} (1 = a is better, or the rating): {escape(labels)}</p></details>'
    )


def _scores(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {number(value, 2)}" for name, value in scores.items())


def _whisker(p: PairAccuracy, width: int = 180, height: int = 16) -> str:
    """Accuracy from 0.3 to 1: interval, value, and the majority as a short bar."""

    def x(value: float) -> float:
        return round(2 + (min(max(value, 0.3), 1.0) - 0.3) / 0.7 * (width - 4), 1)

    low, high = (p.accuracy.low, p.accuracy.high) if p.accuracy.low == p.accuracy.low else p.wilson
    middle = height / 2
    title = (
        f"accuracy {number(p.accuracy.value)}, interval {number(low)} to {number(high)}, majority {number(p.majority)}"
    )
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{escape(title)}"><line x1="2" x2="{width - 2}" y1="{middle}" y2="{middle}" stroke="#e3e7ee"/>'
        f'<line x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}" stroke="#1a52b0" stroke-width="2.5"/>'
        f'<line x1="{x(p.majority)}" x2="{x(p.majority)}" y1="2" y2="{height - 2}" stroke="#1d2430" stroke-width="1.5"/>'
        f'<circle cx="{x(p.accuracy.value)}" cy="{middle}" r="4" fill="#1a52b0"/></svg>'
    )


def _span(estimate: Estimate) -> str:
    return f"{number(estimate.low)} to {number(estimate.high)}"


def _shade(value: float) -> str:
    """Blue for agreement, orange for opposition, white for none; the number stands in the cell, so colour only helps."""
    if value != value:
        return ""
    strength = min(abs(value), 1.0)
    tint = (26, 82, 176) if value > 0 else (176, 65, 10)
    shade = [round(255 - strength * 0.75 * (255 - c)) for c in tint]
    ink = "#fff" if strength > 0.75 else "#1d2430"
    return f"background: rgb({', '.join(map(str, shade))}); color: {ink}"


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, raw: Sequence[int] = (), right: Sequence[int] = ()
) -> str:
    """Rows of text; columns in `raw` hold markup of ours, those in `right` numbers."""

    def cell(tag: str, k: int, value: str) -> str:
        side = ' class="n"' if k in right else ""
        return f"<{tag}{side}>{value if k in raw and tag == 'td' else escape(value)}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", k, name) for k, name in enumerate(head)) + "</tr>"]
    lines += ["<tr>" + "".join(cell("td", k, value) for k, value in enumerate(row)) + "</tr>" for row in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'
