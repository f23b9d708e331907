"""`moalign reward evaluate`: hold a reward against labels that it was not trained on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_unused, nothing_left_of_refused_input
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.sources import REWARD_HELP, load_reward

REPORT, PAGE = "report.json", "report.html"


@dataclass
class EvaluateOptions:
    """Options of `moalign reward evaluate`."""

    reward: str = field(metadata=about(REWARD_HELP))
    eval_data: list[str] = field(
        metadata=about("Files of held-out pairs or ratings (.jsonl, .json, .csv, .parquet, .gz) or hub names.")
    )
    output_dir: str = field(metadata=about(f"Where {REPORT} and {PAGE} go."))
    binary: list[str] | None = field(
        default=None,
        metadata=about("Objectives whose ratings are flags (1 yes, 0 no); by default those that the reward remembers."),
    )
    top: int = field(default=20, metadata=about("How many of the rows with the strongest disagreements are listed."))
    resamples: int = field(default=500, metadata=about("Bootstrap resamples behind the intervals."))
    seed: int = field(default=0, metadata=about("Of the bootstrap."))
    skip_bad_rows: bool = field(default=False, metadata=about("Leave broken rows out, and write them to a side file."))
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a report that output_dir already holds."))


def command() -> Command:
    """The action and its options."""
    return Command(
        "reward evaluate",
        "Accuracy of every objective with 95 % intervals, calibration, correlations between heads, and the pairs where heads and people disagree most, on rows that "
        "the reward was not trained on; printed, and written as a page.",
        (EvaluateOptions,),
    )


def run(arguments: Sequence[str]) -> int:
    """Score the rows, print the tables, write the page."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(EvaluateOptions)
    check_unused(options.output_dir, options.overwrite_output_dir, names=(REPORT, PAGE))
    with nothing_left_of_refused_input(options.output_dir):
        report = _evaluate(options)
    say(report.table())
    say(f"\nThe page is {Path(options.output_dir) / PAGE}.")
    return 0


def _evaluate(options: EvaluateOptions) -> Any:
    from frontier.atomic import write_text
    from reward_heads.diagnose.intervals import Resampling
    from reward_heads.report import evaluate_reward, write_page

    hide_loading_bars()
    reward = load_reward(options.reward)
    rows = rows_of(options.eval_data, options.skip_bad_rows)
    binary = flags_of(reward) if options.binary is None else options.binary
    how = Resampling(resamples=options.resamples, seed=options.seed)
    report = evaluate_reward(reward, rows, name=options.reward, binary=binary, top=options.top, how=how)
    out = Path(options.output_dir)
    content = {"reward": options.reward, "eval_data": options.eval_data, **report.to_json()}
    write_text(out / REPORT, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    write_page(report, out / PAGE)
    return report


def rows_of(sources: Sequence[str], skip_bad_rows: bool) -> list[dict[str, Any]]:
    """The records of several files, one after the other."""
    from moalign.data import read_records

    return [row for source in sources for row in read_records(source, None, skip_bad_rows).dataset]


def flags_of(reward: Any) -> list[str]:
    """The objectives that a reward remembers to have learned from flags."""
    inner = getattr(reward, "reward", reward)
    if hasattr(inner, "fits"):  # a probe says of each head on which labels it was fitted
        return [fit.objective for fit in inner.fits if "flags" in fit.labels.split("+")]
    heads = getattr(inner, "heads", ())
    heads = heads if isinstance(heads, tuple | list) else ()
    return [name for name, head in zip(inner.objectives, heads, strict=False) if getattr(head, "sign_aware", False)]
