"""`moalign reward gate`: learn which objectives count for which prompt."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frontier.errors import unknown_name
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_unused, clear_results, nothing_left_of_refused_input
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.reward.evaluate import rows_of
from moalign.cli.sources import REWARD_HELP, load_reward

CONFIG = "training_config.json"
LEARN_FROM = ("pairs", "responses")


@dataclass
class GateOptions:
    """Options of `moalign reward gate` besides the network's."""

    reward: str = field(metadata=about(REWARD_HELP))
    model: str = field(
        metadata=about("The frozen model whose embeddings of the prompt the gate reads (folder or hub id).")
    )
    train_data: list[str] = field(
        metadata=about(
            "Pairs with a label that says which completion is better overall (.jsonl, .json, .csv, .parquet, .gz)."
        )
    )
    output_dir: str = field(metadata=about("The folder that becomes the gate."))
    label: str | None = field(
        default=None, metadata=about("The name of that label; needed where pairs are labelled for several.")
    )
    learn_from: str = field(
        default="pairs",
        metadata=about(
            "pairs: weights whose sum of rewards explains the labels (ArmoRM); responses: the rewards of what was preferred (PRO)."
        )
        | {"choices": list(LEARN_FROM)},
    )
    pooling: str = field(default="mean", metadata=about("mean over the prompt's tokens, or the last or first token."))
    max_length: int | None = field(
        default=None, metadata=about("Longest prompt in tokens; by default what the model allows.")
    )
    skip_bad_rows: bool = field(default=False, metadata=about("Leave broken rows out, and write them to a side file."))
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


def command() -> Command:
    """The action and its options."""
    from reward_heads.gating import GateConfig

    return Command(
        "reward gate",
        "Learn which objectives count for which prompt: from the prompt's embedding to weights. `moalign serve BUNDLE --gate FOLDER` then gives them to requests that "
        "bring none; the report says whether the gate beats constant weights on prompts that it did not see.",
        (GateOptions, GateConfig),
    )


def run(arguments: Sequence[str]) -> int:
    """Fit the gate, save it, say whether it helps."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    from reward_heads.gating import GateConfig

    options = values.build(GateOptions)
    if options.learn_from not in LEARN_FROM:
        raise unknown_name("learn_from", options.learn_from, LEARN_FROM)
    check_unused(options.output_dir, options.overwrite_output_dir)
    with nothing_left_of_refused_input(options.output_dir):
        _fit(options, values.build(GateConfig))
    say(f"\nThe gate is in {options.output_dir}. Next: moalign serve BUNDLE --gate {options.output_dir}")
    return 0


def _fit(options: GateOptions, config: Any) -> None:
    import torch

    from frontier.atomic import write_text
    from reward_heads.gating import fit_gate_on_pairs, fit_gate_on_responses
    from reward_heads.normalizer import Normalizer
    from reward_heads.probes import Embedder
    from reward_heads.vector_reward import score_checked

    hide_loading_bars()
    rows = rows_of(options.train_data, options.skip_bad_rows)
    reward = load_reward(options.reward)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    embedder = Embedder.from_pretrained(
        options.model, pooling=options.pooling, max_length=options.max_length, device=device
    )
    if options.learn_from == "pairs":
        gate = fit_gate_on_pairs(embedder, reward, rows, label=options.label, config=config)
    else:
        texts = [(row["prompt"], row[name]) for row in rows for name in ("completion_a", "completion_b") if name in row]
        scores = score_checked(reward, *([text[k] for text in texts] for k in (0, 1)))
        normalizer = Normalizer.from_scores(
            scores, reward.objectives, "completions of " + ", ".join(options.train_data)
        )
        gate = fit_gate_on_responses(embedder, reward, rows, normalizer, label=options.label, config=config)
    if options.overwrite_output_dir:
        clear_results(options.output_dir)
    gate.save_pretrained(options.output_dir)
    resolved = asdict(options) | asdict(config) | {"method": "gate"}
    write_text(Path(options.output_dir) / CONFIG, json.dumps(resolved, indent=2, sort_keys=True) + "\n")
    if gate.report is not None:
        say(gate.report.table())
