"""`moalign reward calibrate`: correct a saved reward on held-out labels, and keep the correction with it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frontier.errors import InputError, unknown_name
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import RESULTS, check_unused, nothing_left_of_refused_input
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.reward.evaluate import flags_of, rows_of

REPORT = "calibration.json"
METHODS = ("auto", "temperature", "platt", "line", "isotonic", "none")


@dataclass
class CalibrateOptions:
    """Options of `moalign reward calibrate`."""

    reward: str = field(metadata=about("The folder of a saved reward."))
    calibration_data: list[str] = field(
        metadata=about(
            "Files of pairs or ratings that the reward was not trained on (.jsonl, .json, .csv, .parquet, .gz)."
        )
    )
    output_dir: str | None = field(
        default=None,
        metadata=about("Where the corrected reward goes; by default the correction goes beside the reward."),
    )
    method: str | dict[str, str] = field(
        default="auto",
        metadata=about(
            "temperature (pairs, to nats), platt (flags, to log-odds), line or isotonic (to ratings), none; auto takes what suits each objective's labels. By objective: "
            "helpful=temperature,brief=none."
        ),
    )
    decorrelate: str | None = field(
        default=None,
        metadata=about(
            "First make the scores independent of 'length' (words), or of another objective, such as a verbosity head."
        ),
    )
    threshold: float = field(
        default=0.05, metadata=about("With --decorrelate: the largest rank correlation with it that may stay.")
    )
    binary: list[str] | None = field(
        default=None,
        metadata=about("Objectives whose ratings are flags (1 yes, 0 no); by default those that the reward remembers."),
    )
    seed: int = field(default=0, metadata=about("Of the folds and the bootstrap."))
    skip_bad_rows: bool = field(default=False, metadata=about("Leave broken rows out, and write them to a side file."))
    overwrite: bool = field(default=False, metadata=about("Replace the corrections that the reward already has."))


def command() -> Command:
    """The action and its options."""
    return Command(
        "reward calibrate",
        "Make a reward's numbers mean what they say, on labels that it was not trained on: one unit of difference a nat of preference, a score the log-odds of a flag "
        "or a rating; and, if asked, independent of length. Whoever loads the reward gets corrected scores.",
        (CalibrateOptions,),
    )


def run(arguments: Sequence[str]) -> int:
    """Fit, save the corrected reward, print what it gained."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(CalibrateOptions)
    for method in [options.method] if isinstance(options.method, str) else options.method.values():
        if method not in METHODS:
            raise unknown_name("method of calibration", method, METHODS)
    if options.method == "none" and options.decorrelate is None:
        raise InputError("method none without --decorrelate corrects nothing")
    out = Path(options.output_dir or options.reward)
    with nothing_left_of_refused_input(out):
        _calibrate(options, out)
    say(
        f"\nThe corrected reward is in {out}. Next: moalign reward evaluate --reward {out} --eval_data OTHER_HELD_OUT_DATA"
    )
    return 0


def _calibrate(options: CalibrateOptions, out: Path) -> None:
    import torch

    from frontier.atomic import write_text
    from reward_heads.saved import load_reward, save_reward
    from reward_heads.transforms import FILE_NAME

    if not Path(options.reward).is_dir():
        raise InputError(f"reward: no folder {options.reward}; a correction is kept in the folder of a saved reward")
    if out.resolve() != Path(options.reward).resolve():
        if not options.overwrite:
            check_unused(out, False, names=(*RESULTS, FILE_NAME))
    elif (out / FILE_NAME).exists() and not options.overwrite:
        raise InputError(
            f"{out} already has corrections ({FILE_NAME}): pass --overwrite to replace them, or name another --output_dir"
        )
    hide_loading_bars()
    rows = rows_of(options.calibration_data, options.skip_bad_rows)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    reward = load_reward(options.reward, device=device, transforms=False)  # old corrections make way, stale ones too
    found: dict[str, Any] = {"calibration_data": options.calibration_data}
    if options.decorrelate is not None:
        reward, decorrelation = _decorrelated(reward, rows, options)
        found["decorrelation"] = decorrelation.to_json()
        say(decorrelation.table() + "\n")
    if options.method != "none":
        from reward_heads.calibrate import calibrate
        from reward_heads.diagnose.intervals import Resampling

        binary = flags_of(reward) if options.binary is None else options.binary
        source = ", ".join(options.calibration_data)
        how = Resampling(seed=options.seed)
        reward, calibration = calibrate(reward, rows, method=options.method, binary=binary, source=source, how=how)
        found["calibration"] = calibration.to_json()
        say(calibration.table())
    save_reward(reward, out)
    write_text(out / REPORT, json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _decorrelated(reward: Any, rows: Sequence[dict[str, Any]], options: CalibrateOptions) -> tuple[Any, Any]:
    from reward_heads.decorrelate import fit_decorrelation

    against = str(options.decorrelate)
    if against != "length" and against not in reward.objectives:
        raise unknown_name("thing to decorrelate from", against, ("length", *reward.objectives))
    return fit_decorrelation(reward, rows, against=against, threshold=options.threshold, seed=options.seed)
