"""`moalign demo`: every stage of the pipeline, for real, on a small world of readable English."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frontier.errors import InputError
from moalign.data import read_pairs, write_jsonl
from moalign.demo import world
from moalign.demo.annotators import annotate, attainable_accuracy, label_agreement
from moalign.demo.edits import edit_some
from moalign.demo.language_model import sample_replies, train_language_model
from moalign.demo.stages import Sweep, five_preferences, print_summary, say, steer_and_measure, write_summary
from moalign.demo.true_reward import TrueReward
from moalign.methods.clp import CLPConfig
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.training.runs.folder import watch, write_config
from reward_heads import RewardHeadsConfig, RewardHeadsTrainer, TransformerReward

MAX_NEW_TOKENS = 40
SUMMARY = "summary.json"
PAIRS = "pairs.jsonl"
FRONT_FILES = ("front.json", "front.prompts.safetensors", "front.png", "front.html")
COMPARE_FILES = ("compare.png", "compare.html")
EDITED = 0.5  # share of the pairs that compare a reply with an edit of itself


@dataclass
class DemoConfig:
    """Settings of the demo; the defaults take a few minutes on two CPU cores."""

    output_dir: str = field(default="runs/demo", metadata={"help": "Folder for everything the demo makes."})
    seed: int = field(default=0, metadata={"help": "Of world, models and sampling."})
    compare: bool = field(
        default=False, metadata={"help": "Also train Rewarded Soups with as many updates, and compare hypervolumes."}
    )
    quick: bool = field(default=False, metadata={"help": "A few updates of everything, to see that it works."})
    overwrite: bool = field(default=True, metadata={"help": "Replace what an earlier demo left in output_dir."})


@dataclass(frozen=True)
class _Size:
    """How much of everything."""

    prompts: int = 2000
    replies_per_prompt: int = 12
    language_model_steps: int = 1500
    pairs: int = 4000
    held_out_pairs: int = 600
    reward_epochs: int = 3
    policy_steps: int = 162  # a multiple of 3: the soups share them
    sweep_prompts: int = 96
    samples_per_prompt: int = 4
    partitions: int = 5


_QUICK = _Size(
    prompts=200,
    replies_per_prompt=2,
    language_model_steps=120,
    pairs=200,
    held_out_pairs=80,
    reward_epochs=1,
    policy_steps=3,
    sweep_prompts=8,
    samples_per_prompt=1,
    partitions=2,
)


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Train a language model, reward heads and a steerable policy; measure its front; write `summary.json` and say how to serve it.

    Args:
        config (`DemoConfig`): settings.

    Returns:
        `dict`: what `summary.json` holds.

    Raises:
        InputError: `output_dir` holds something that no demo made, or an earlier demo that must not be replaced.
    """
    size = _QUICK if config.quick else _Size()
    out = Path(config.output_dir)
    _clear(out, config.overwrite)
    write_config(out, asdict(config))
    started = time.perf_counter()
    torch.manual_seed(config.seed)
    train_prompts, held_out = world.split_prompts(size.prompts, 256, config.seed)

    say("1/4 Training a tiny language model on replies of a shop's support desk ...")
    base = out / "language_model"
    texts = world.draw_replies(train_prompts, size.replies_per_prompt, config.seed)
    language_model = train_language_model(
        base,
        texts,
        config.seed,
        size.language_model_steps,
        vocabulary=world.all_text(),
        held_out=world.draw_replies(held_out, 1, config.seed + 1),
    )
    say(f"    perplexity {language_model['perplexity']:.2f} per token on held-out replies")
    seconds = {"language_model": time.perf_counter() - started}

    say("2/4 Training reward heads on the annotators' pairs ...")
    began = time.perf_counter()
    reward, accuracy = _train_reward(str(base), out / "reward", train_prompts, held_out, size, config.seed)
    seconds["reward"] = time.perf_counter() - began

    say("3/4 Steering ...")
    found = steer_and_measure(
        str(base),
        reward,
        train_prompts,
        _clp(out / "policy", size.policy_steps, config.seed),
        Sweep(
            held_out[: size.sweep_prompts],
            partitions=size.partitions,
            samples_per_prompt=size.samples_per_prompt,
            max_new_tokens=MAX_NEW_TOKENS,
        ),
        truth=TrueReward(),
        soup_config=_clp(out / "soup", size.policy_steps, config.seed) if config.compare else None,
        title="Replies of a support desk",
    )
    for name in FRONT_FILES + (COMPARE_FILES if config.compare else ()):
        shutil.copy(out / "policy" / name, out / name)
    found["perplexity"]["well_formed_sentences"] = _well_formed(out / "policy", held_out[:32], config.seed)
    say("4/4 Writing the summary ...")
    summary = {
        "seconds": time.perf_counter() - started,
        "units": {
            "steering, hypervolume, eum, mip": "the world's true rewards, in standard deviations of the reference policy",
            "learned, picks, front files": "the learned rewards, in standard deviations of the reference policy",
        },
        "reward_accuracy": accuracy,
        **found,
        "language_model": language_model,
        "seconds_by_stage": seconds | found["seconds_by_stage"],
        "settings": asdict(config) | {"size": asdict(size)},
    }
    write_summary(out, summary)
    print_summary(summary)
    _farewell(out, summary)
    return summary


def _clear(out: Path, overwrite: bool) -> None:
    """Make room for a new run, and never delete what the demo did not make."""
    if out.exists() and not out.is_dir():
        raise InputError(f"output_dir {out} is a file, expected a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    ours = {
        "language_model",
        "reward",
        "policy",
        "soup",
        "config.json",
        SUMMARY,
        PAIRS,
        *FRONT_FILES,
        *COMPARE_FILES,
    }
    # Other runs have folders of these names too: only a demo's settings beside them tell that they may go.
    by_demo = _is_demo_config(out / "config.json")
    foreign = sorted(p.name for p in out.iterdir() if p.name not in ours or not by_demo)
    if foreign or not overwrite:
        what = f"holds {', '.join(foreign[:3])}, which no demo made" if foreign else "holds an earlier demo"
        raise InputError(f"output_dir {out} {what}: name another folder with --output_dir")
    for path in out.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_demo_config(path: Path) -> bool:
    """Whether a file holds the settings of a demo, which are the first thing that a demo writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {f.name for f in fields(DemoConfig)} <= set(content)


def _train_reward(
    base: str, out: Path, prompts: list[str], held_out: list[str], size: _Size, seed: int
) -> tuple[TransformerReward, dict[str, Any]]:
    """K heads on annotated pairs of the language model's own replies; accuracy on held-out pairs beside what the annotators' noise allows."""
    training, testing = _annotated_pairs(base, prompts, held_out, size, seed)
    write_jsonl(training, out.parent / PAIRS)
    pairs = read_pairs(out.parent / PAIRS, objectives=TrueReward.objectives)
    config = RewardHeadsConfig(
        output_dir=str(out),
        objectives=list(TrueReward.objectives),
        num_train_epochs=size.reward_epochs,
        per_device_train_batch_size=64,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        save_strategy="no",
        report_to=[],
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = RewardHeadsTrainer(base, config, train_dataset=pairs.dataset)
    watch(trainer)
    trainer.train()
    trainer.reward.save_pretrained(out)
    columns = [[pair[name] for pair in testing] for name in ("prompt", "completion_a", "completion_b")]
    differences = trainer.reward.score(columns[0], columns[1]) - trainer.reward.score(columns[0], columns[2])
    measured = label_agreement(testing, differences)
    possible = attainable_accuracy(testing)
    accuracy = {
        name: {
            "accuracy": measured[name],
            "attainable": possible[name],
            "ratio": measured[name] / possible[name],
            "n": sum(pair["labels"][name] is not None for pair in testing),
        }
        for name in TrueReward.objectives
    }
    for name, row in accuracy.items():
        say(f"    {name}: accuracy {row['accuracy']:.3f} of {row['attainable']:.3f} that the annotators' noise allows")
    return trainer.reward, accuracy


def _annotated_pairs(
    base: str, prompts: list[str], held_out: list[str], size: _Size, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")

    def pairs(source: list[str], count: int, offset: int) -> list[dict[str, Any]]:
        chosen = [source[i % len(source)] for i in range(count)]
        replies = [reply for _, reply in sample_replies(model, tokenizer, chosen, 2, seed + offset)]
        first, second = replies[0::2], edit_some(replies[0::2], replies[1::2], EDITED, seed + offset)
        return annotate(chosen, first, second, np.random.default_rng(seed + offset))

    return pairs(prompts, size.pairs, 10), pairs(held_out, size.held_out_pairs, 20)


def _clp(out: Path, steps: int, seed: int) -> CLPConfig:
    return CLPConfig(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=128,
        num_generations=4,
        max_completion_length=MAX_NEW_TOKENS,
        learning_rate=4e-3,
        lr_scheduler_type="cosine",
        warmup_steps=5,
        beta=0.2,
        lora_r=8,
        lora_alpha=16,
        logging_steps=5,
        save_strategy="no",
        report_to=[],
        seed=seed,
        bf16=False,
        gradient_checkpointing=False,
    )


def _well_formed(bundle: Path, prompts: list[str], seed: int) -> dict[str, float]:
    """Share of sentences that the world's grammar knows, in the reference's replies and in steered ones: another check against gibberish."""
    policy = SteerablePolicy.from_pretrained(bundle)

    def share(preference: Preference | None) -> float:
        options = {"max_new_tokens": MAX_NEW_TOKENS, "do_sample": True, "top_k": 0, "seed": seed}
        replies = policy.generate(prompts, preference, **options)
        kinds = [sentence.kind for reply in replies for sentence in world.parse_reply(reply)]
        return 1 - kinds.count("malformed") / max(1, len(kinds))

    preferences: list[Preference | None] = [None, *five_preferences(policy.objectives)]
    return {"reference" if p is None else str(p): share(p) for p in preferences}


def _farewell(out: Path, summary: dict[str, Any]) -> None:
    example = json.dumps(dict(zip(summary["objectives"], (0.2, 0.6, 0.2), strict=True)))
    pictures = str(out / "front.html")
    if (out / "compare.html").is_file():
        pictures += f" and {out / 'compare.html'}"
    say(
        f"\nDone in {summary['seconds']:.0f} s. Look at {pictures}, then serve the policy and open http://127.0.0.1:8000 in a browser, or ask for an answer at "
        "any weights:\n\n"
        f"  moalign serve {out / 'policy'}\n"
        "  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f'    -d \'{{"model": "policy", "preference": {example}, "messages": '
        '[{"role": "user", "content": "Hi, this is Anna. My blue lamp arrived broken on Monday. What can I do?"}]}\'\n'
    )
