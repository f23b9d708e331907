"""`moalign reward probe`: linear heads on a frozen model's embeddings, in seconds instead of hours."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_unused, clear_results, nothing_left_of_refused_input
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.reward.evaluate import rows_of

CONFIG = "training_config.json"


@dataclass
class ProbeOptions:
    """Options of `moalign reward probe`."""

    model: str = field(
        metadata=about("The frozen model: an encoder, a language model or reward heads (folder or hub id).")
    )
    train_data: list[str] = field(
        metadata=about(
            "Files of pairs or ratings (.jsonl, .json, .csv, .parquet, .gz) or hub names; their rows are joined."
        )
    )
    output_dir: str = field(metadata=about("The folder that becomes the reward."))
    eval_data: list[str] | None = field(
        default=None, metadata=about("Held-out pairs or ratings, for the accuracy of each objective.")
    )
    objectives: list[str] | None = field(
        default=None, metadata=about("Names and order of the heads; by default the labelled ones, as they appear.")
    )
    sign_aware: list[str] | None = field(
        default=None, metadata=about("Objectives whose ratings are flags (1 safe, 0 unsafe): their boundary is at 0.")
    )
    pooling: str = field(default="mean", metadata=about("mean over the tokens, or the last or first token."))
    layer: int | None = field(
        default=None,
        metadata=about(
            "Embeddings after so many layers, by default the last. Middle layers often know more of how a text is written than of what it is about."
        ),
    )
    max_length: int | None = field(
        default=None, metadata=about("Longest text in tokens; by default what the model allows.")
    )
    embedding_cache: str | None = field(
        default=None,
        metadata=about("A folder that keeps embeddings, so that the next probe on the same texts costs nothing."),
    )
    batch_size: int = field(default=64, metadata=about("Texts embedded at once."))
    skip_bad_rows: bool = field(default=False, metadata=about("Leave broken rows out, and write them to a side file."))
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


def command() -> Command:
    """The action and its options."""
    return Command(
        "reward probe",
        "Fit one linear head per objective (ridge on ratings, logistic on pairs and flags) to the embeddings of a model that stays as it is. The penalty is chosen "
        "by held-out error. The result scores, calibrates and trains policies like any other reward.",
        (ProbeOptions,),
    )


def run(arguments: Sequence[str]) -> int:
    """Embed, fit, save, print what held-out rows say."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(ProbeOptions)
    check_unused(options.output_dir, options.overwrite_output_dir)
    with nothing_left_of_refused_input(options.output_dir):
        _fit(options)
    say(
        f"\nThe reward is in {options.output_dir}. Next: moalign reward calibrate --reward {options.output_dir} --calibration_data PAIRS"
    )
    return 0


def _fit(options: ProbeOptions) -> None:
    import torch

    from frontier.atomic import write_text
    from reward_heads.diagnose.report import number, text_table
    from reward_heads.probes import Embedder, ProbeConfig, fit_probe
    from reward_heads.report import evaluate_reward

    hide_loading_bars()
    rows = rows_of(options.train_data, options.skip_bad_rows)
    held_out = rows_of(options.eval_data, options.skip_bad_rows) if options.eval_data else None
    config = ProbeConfig(objectives=options.objectives, sign_aware=options.sign_aware or ())
    embedder = Embedder.from_pretrained(
        options.model,
        pooling=options.pooling,
        layer=options.layer,
        max_length=options.max_length,
        batch_size=options.batch_size,
        device="cuda" if torch.cuda.is_available() else "cpu",
        cache=options.embedding_cache,
    )
    reward = fit_probe(embedder, rows, config)
    if options.overwrite_output_dir:
        clear_results(options.output_dir)
    reward.save_pretrained(options.output_dir)
    resolved = asdict(options) | {"method": "probe"}
    write_text(Path(options.output_dir) / CONFIG, json.dumps(resolved, indent=2, sort_keys=True) + "\n")
    table = [
        [fit.objective, fit.labels, str(fit.n), number(fit.alpha, 4), number(min(fit.held_out))] for fit in reward.fits
    ]
    say(text_table(["objective", "labels", "n", "penalty", "held-out loss"], table))
    if embedder.truncated:
        say(
            f"{embedder.truncated} of the texts were longer than {embedder.settings()['max_length']} tokens and were cut."
        )
    if held_out is not None:
        say("\n" + evaluate_reward(reward, held_out).diagnosis.accuracy.table())
