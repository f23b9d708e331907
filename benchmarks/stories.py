"""Steer a real pretrained story teller between sentiment, short sentences and a rich vocabulary, with CLP; compare with Rewarded Soups.

python -m benchmarks.stories --data ../shared/data --json out.json
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.report import Row, at_least, main
from moalign.demo.stages import Sweep, print_summary, steer_and_measure, write_summary
from moalign.methods.clp import CLPConfig
from reward_heads import FunctionReward, rules

# This model ends a story with token 1 (BOS) as often as with 2.
ENDS = [1, 2]
PROMPT_WORDS = 12
MAX_NEW_TOKENS = 48


def readers(folder: Path) -> ModuleType:
    """The readers of the data folder."""
    path = folder / "loaders.py"
    if not path.is_file():
        sys.exit(f"{path} is missing: name the folder with the real data with --data")
    spec = importlib.util.spec_from_file_location("loaders", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def distinct_words(prompt: str, completion: str) -> float:
    """How many different words a completion uses: more when it is longer, so it is at odds with short sentences and repetition."""
    return float(len(set(rules.words(completion))))


def short_sentences(prompt: str, completion: str) -> float:
    """Minus the mean number of words a sentence; saying nothing is no way to be short and counts as one sentence that fills the completion."""
    length = rules.sentence_length(prompt, completion)
    return -length if length is not None else -float(MAX_NEW_TOKENS)


def base_model(source: Path, out: Path) -> str:
    """A copy of the story teller that declares both of its ending tokens, so that training, sweep and server all stop there."""
    model = AutoModelForCausalLM.from_pretrained(source)
    model.generation_config.eos_token_id = ENDS
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(source, padding_side="left").save_pretrained(out)
    return str(out)


def story_reward(lexicon: dict[str, Any]) -> FunctionReward:
    """Sentiment by the published lexicon, short sentences, and a rich vocabulary."""
    sentiment = rules.Sentiment({word: entry[0] for word, entry in lexicon.items()})
    return FunctionReward({"sentiment": sentiment, "short": short_sentences, "rich": distinct_words})


def story_prompts(stories: Sequence[str]) -> list[str]:
    """The first words of each story, once each."""
    return list(dict.fromkeys(" ".join(story.split()[:PROMPT_WORDS]) for story in stories))


def config(out: Path, steps: int, args: argparse.Namespace) -> CLPConfig:
    """The same settings for the steerable policy and for the soups."""
    return CLPConfig(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=64,
        num_generations=4,
        max_completion_length=MAX_NEW_TOKENS,
        learning_rate=args.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        beta=args.beta,
        concentration=0.7,
        lora_r=8,
        lora_alpha=16,
        logging_steps=10,
        save_strategy="no",
        report_to=[],
        seed=args.seed,
        bf16=False,
        gradient_checkpointing=False,
    )


def run(args: argparse.Namespace) -> list[Row]:
    """Steer story continuations between sentiment, short sentences and a rich vocabulary; compare with Rewarded Soups."""
    data = readers(args.data)
    reward = story_reward(data.vader_lexicon())
    prompts = story_prompts(data.tinystories())
    held_out, training = prompts[:128], prompts[128:]
    steps = 6 if args.quick else args.steps
    sweep = Sweep(
        held_out[:16] if args.quick else held_out,
        partitions=2 if args.quick else 5,
        samples_per_prompt=1 if args.quick else 4,
        max_new_tokens=MAX_NEW_TOKENS,
    )
    summary = steer_and_measure(
        base_model(data.STORIES_MODEL, args.output_dir / "base"),
        reward,
        training,
        config(args.output_dir / "policy", steps, args),
        sweep,
        soup_config=config(args.output_dir / "soup", steps, args),
        title="Stories: sentiment, short sentences, rich vocabulary",
    )
    write_summary(args.output_dir, summary)
    print_summary(summary)
    return rows(summary, steps)


def rows(summary: dict[str, Any], steps: int) -> list[Row]:
    """The summary's figures as rows with their bars."""
    volume = summary["hypervolume"]
    where = ", ".join(f"{v:.2f}" for v in volume["reference_point"])
    volume_row = {
        "unit": "product of reference sd",
        "peer": "Rewarded Soups, exact ΔW, equal updates",
        "peer_value": volume["soup"],
    }
    ratio = summary["perplexity"]["ratio"]
    found = [
        Row(f"steering.{name}", "Spearman of weight and mean reward over the lattice", value, **at_least(0.9, value))
        for name, value in summary["steering"].items()
    ]
    found += [
        Row(
            "hypervolume.steerable",
            f"CLP, {steps} updates, above ({where})",
            volume["steerable"],
            **volume_row,
            **at_least(volume["soup"], volume["steerable"]),
        ),
        Row(
            "hypervolume.reference", f"the base model, above ({where})", volume["reference"], "product of reference sd"
        ),
        Row("hypervolume.soup", f"Rewarded Soups, {steps} updates in total", volume["soup"], "product of reference sd"),
        Row(
            "eum",
            "mean over the lattice of the best point's utility",
            summary["eum"],
            "reference sd",
            peer="soup",
            peer_value=summary["soup"]["eum"],
        ),
        Row(
            "mip",
            "mean over the lattice of the utility of the point asked for",
            summary["mip"],
            "reference sd",
            peer="soup",
            peer_value=summary["soup"]["mip"],
        ),
        Row("controllability_gap", "EUM - MIP", summary["controllability_gap"], "reference sd"),
        Row("perplexity.ratio", summary["perplexity"]["how"], ratio),
        Row(
            "seconds.train",
            "CLP training",
            summary["seconds_by_stage"]["train"],
            "s",
            peer="soups",
            peer_value=summary["seconds_by_stage"]["train_soup"],
        ),
    ]
    return found


if __name__ == "__main__":
    main(
        "stories",
        run,
        [
            (
                "--output_dir",
                {"type": Path, "default": Path("runs/stories"), "help": "where bundle, front and summary go"},
            ),
            (
                "--steps",
                {"type": int, "default": 240, "help": "updates of the steerable policy, and of all soups together"},
            ),
            ("--learning_rate", {"type": float, "default": 3e-3, "help": "of both"}),
            ("--beta", {"type": float, "default": 0.15, "help": "KL coefficient of both"}),
            ("--seed", {"type": int, "default": 0, "help": "of both"}),
        ],
    )
