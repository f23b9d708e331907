"""`moalign reward inspect`: say what a saved reward is, and score texts with it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.sources import REWARD_HELP, load_reward


@dataclass
class InspectOptions:
    """Options of `moalign reward inspect`."""

    reward: str = field(metadata=about(REWARD_HELP))
    data: list[str] | None = field(
        default=None, metadata=about("Pairs or ratings whose completions are scored: prints the vectors.")
    )
    n: int = field(default=5, metadata=about("How many completions of the data are shown."))
    json: bool = field(default=False, metadata=about("Print JSON instead of text."))


def command() -> Command:
    """The action and its options."""
    return Command(
        "reward inspect",
        "What a reward is: its kind, objectives, on what it was trained, units, longest text and the corrections that are applied; with data, what it scores.",
        (InspectOptions,),
    )


def run(arguments: Sequence[str]) -> int:
    """Print the description, and scores where there is data."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(InspectOptions)
    if options.n < 1:
        raise InputError(f"n must be at least 1, found {options.n}")
    hide_loading_bars()
    reward = load_reward(options.reward)
    found: dict[str, Any] = description(reward)
    found["files"] = _files(options.reward)
    if options.data:
        found["scores"] = _scores(reward, options)
    if options.json:
        say(json.dumps(found, indent=2, ensure_ascii=False, default=str))
        return 0
    shown = {key: value for key, value in found.items() if key != "scores" and value not in (None, [], {})}
    width = max(map(len, shown))
    for key, value in shown.items():
        say(f"{key.replace('_', ' '):<{width}}  {_line(value)}")
    for entry in found.get("scores", ()):
        say(f"\n{entry['completion']}\n  " + ", ".join(f"{name} {value}" for name, value in entry["scores"].items()))
    return 0


def description(reward: Any) -> dict[str, Any]:
    """What a reward says of itself, from the outside in."""
    from reward_heads.transforms import TransformedReward

    corrections: list[str] = []
    if isinstance(reward, TransformedReward):
        corrections = [transform.kind for transform in reward.transforms]
        reward = reward.reward
    found: dict[str, Any] = {"kind": type(reward).__name__, "objectives": list(reward.objectives)}
    parts = getattr(reward, "rewards", None) or getattr(reward, "members", None)
    if parts:
        found["parts"] = [f"{type(part).__name__}({', '.join(part.objectives)})" for part in parts]
    for name in ("training", "pooling", "max_length", "combine"):
        if getattr(reward, name, None) not in (None, (), []):
            value = getattr(reward, name)
            found[name] = list(value) if isinstance(value, tuple) else value
    heads = getattr(reward, "heads", ())
    taught = list(zip(reward.objectives, heads if isinstance(heads, tuple | list) else (), strict=False))
    losses = {
        name: " and ".join(w for w in (getattr(h, "pairs", None), getattr(h, "ratings", None)) if isinstance(w, str))
        for name, h in taught
    }
    found["losses"] = {name: words for name, words in losses.items() if words}
    units = getattr(reward, "units", None)
    if units is not None:
        entries = zip(units.objectives, units.location, units.scale, strict=True)
        found["ratings"] = {name: f"mean {mean:.3g}, sd {sd:.3g}" for name, mean, sd in entries}
    model = getattr(reward, "model", None)
    if model is not None and hasattr(model, "config"):
        weights = sum(p.numel() for p in model.parameters())
        found["model"] = f"{type(model).__name__}, {weights / 1e6:.3g} M parameters"
    return found | {"corrections": corrections}


def _files(text: str) -> list[str]:
    folder = Path(text)
    if "," in text or not folder.is_dir():
        return []
    return [f"{p.name} ({p.stat().st_size / 1e6:.2f} MB)" for p in sorted(folder.glob("*")) if p.is_file()]


def _scores(reward: Any, options: InspectOptions) -> list[dict[str, Any]]:
    from moalign.cli.reward.evaluate import rows_of
    from reward_heads.text import plain_text

    texts = []
    for row in rows_of(options.data or [], False):
        for name in ("completion", "completion_a", "completion_b"):
            if row.get(name) is not None:
                texts.append((row["prompt"], row[name]))
    texts = texts[: options.n]
    if not texts:
        return []
    prompts, completions = ([text[k] for text in texts] for k in (0, 1))
    scores = reward.score(prompts, completions).tolist()
    return [
        {
            "completion": plain_text(completion),
            "scores": {k: round(v, 4) if v == v else None for k, v in zip(reward.objectives, row, strict=True)},
        }
        for completion, row in zip(completions, scores, strict=True)
    ]


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {entry}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
