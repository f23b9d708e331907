"""What is known of an export, as the JSON and the model card that lie in its folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frontier.atomic import write_text
from frontier.realize.replace_export import EXPORT, TRUNCATION
from frontier.realize.truncate import Truncation
from moalign.bundle import Manifest
from moalign.exporting.expected import Expected
from moalign.exporting.source import adapter_digests
from moalign.model_card import table
from moalign.preference import Preference

# Layers listed in the card, those that lost most; the file beside it has all.
LISTED = 8


@dataclass(frozen=True)
class ExportFacts:
    """What an export is, where it came from and what it can be expected to earn.

    Args:
        kind (`str`): `lora`, `truncated` or `merged`.
        preference (`Preference`): the point.
        weights (`dict[str, float]`): of each adapter there.
        manifest (`Manifest`): of the policy, its base called by where others load it from.
        origin (`str`, *optional*): the bundle, or the adapters' folders.
        expected (`Expected`, *optional*): where a front was measured.
        ranks (`dict[str, int]`, *optional*): of each layer of an exported LoRA.
        truncation (`Truncation`, *optional*): what a truncated one lost.
        untied (`bool`): whether merging made the output layer a tensor of its own.
        whole (`tuple[str, ...]`): tensors that the LoRA stores whole.
    """

    kind: str
    preference: Preference
    weights: dict[str, float]
    manifest: Manifest
    origin: str | None = None
    expected: Expected | None = None
    ranks: dict[str, int] | None = None
    truncation: Truncation | None = None
    untied: bool = False
    whole: tuple[str, ...] = ()

    @property
    def rank(self) -> int | None:
        """The largest of all layers, which servers must make room for."""
        return max(self.ranks.values(), default=0) if self.ranks is not None else None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        lost = self.truncation
        return {
            "kind": self.kind,
            "preference": self.preference.to_json(),
            "objectives": list(self.manifest.objectives),
            "adapter_weights": self.weights,
            "expected": None if self.expected is None else self.expected.to_json(),
            "base": asdict(self.manifest.base),
            "origin": self.origin,
            "adapters_sha256": adapter_digests(self.manifest),
            "training": self.manifest.training,
            "rank": self.rank,
            "relative_error": 0.0 if lost is None else lost.relative_error,
            "logit_error": None if lost is None or lost.logits is None else asdict(lost.logits),
        }

    def write(self, folder: Path) -> None:
        """Put the card, the JSON and, of a truncated LoRA, the report of its layers into a folder."""
        if self.truncation is not None:
            write_text(folder / TRUNCATION, self.truncation.to_json())
        write_text(folder / EXPORT, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        write_text(folder / "README.md", export_card(self))


def export_card(facts: ExportFacts) -> str:
    """Markdown with the metadata block that model hubs read: the preference, what to expect of it, how to load it, where it came from.

    Args:
        facts (`ExportFacts`): of the export.
    """
    base = facts.manifest.base.name_or_path
    merged = facts.kind == "merged"
    # Hubs check that this names a repository, which a local folder does not.
    on_hub = [] if base.startswith((".", "/")) or Path(base).is_dir() else [f"base_model: {base}"]
    lines = [
        "---",
        f"library_name: {'transformers' if merged else 'peft'}",
        *on_hub,
        f"tags: [moalign, multi-objective, {'merge' if merged else 'lora'}]",
        "---",
        "",
        f"# {Path(base).name} at {facts.preference}",
        "",
        _what(facts),
        "",
        *_rewards(facts),
        "## How to load it",
        "",
        *(_load_merged() if merged else _load_lora(base, facts.rank or 1)),
        "",
    ]
    if facts.truncation is not None:
        lines += ["## What the truncation lost", "", *_lost(facts.truncation), ""]
    lines += ["## Where it came from", "", *_origin(facts), ""]
    return "\n".join(lines)


def _what(facts: ExportFacts) -> str:
    base, point = facts.manifest.base.name_or_path, f"the point {facts.preference}"
    names = "**" + "**, **".join(facts.manifest.objectives) + "**"
    if facts.kind == "merged":
        text = f"The whole model `{base}` with the adapters for {names} merged into it at {point}. Tensor names are the base's own, so that converters (GGUF, ...) read it as they read the base."
        if facts.untied:
            text += " The base ties its output layer to its input embedding; an adapter changed one of them, so here they are two tensors (`tie_word_embeddings: false`)."
        return text
    if facts.kind == "truncated":
        return f"One LoRA of rank {facts.rank} for `{base}`: the best of its rank for the policy that trades {names}, at {point}. It is not exact; what it lost stands below."
    text = f"One LoRA of rank {facts.rank} for `{base}`: exactly the policy that trades {names}, at {point}."
    if facts.whole:
        text += f" It stores {len(facts.whole)} tensors whole (`modules_to_save`), which not every server loads."
    return text


def _rewards(facts: ExportFacts) -> list[str]:
    values, expected = facts.preference.values, facts.expected
    if expected is None:
        known = [(name, f"{values.get(name, 0.0):.4g}") for name in facts.manifest.objectives]
        head = ("objective", facts.preference.kind.removesuffix("s"))
        return [
            *table(head, known),
            "",
            "Expected rewards: not known, no front was measured that says anything of this point.",
            "",
        ]
    rows = []
    for name in expected.rewards:
        interval = expected.interval(name)
        shown = "not known" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
        rows.append((name, f"{values.get(name, 0.0):.4g}", f"{expected.rewards[name]:.4g}", shown))
    how = {
        "measured": "Measured",
        "interpolated": "Interpolated between measured points",
        "nearest": "Not measured here",
    }
    of = " of the exact policy, before the truncation" if facts.kind == "truncated" else ""
    return [
        *table(("objective", "weight", "expected reward", "95 % interval"), rows),
        "",
        f"{how[expected.how]}{of}, on {expected.n_prompts} prompts a point. {expected.reason} Unit: {expected.units}; higher is better.",
        "",
    ]


def _load_merged() -> list[str]:
    return [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("PATH/TO/THIS/FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("PATH/TO/THIS/FOLDER")',
        "```",
    ]


def _load_lora(base: str, rank: int) -> list[str]:
    from moalign.exporting.servers import vllm_rank

    return [
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{base}")',
        'model = PeftModel.from_pretrained(base, "PATH/TO/THIS/FOLDER")',
        "```",
        "",
        "```bash",
        f"vllm serve {base} --enable-lora --max-lora-rank {vllm_rank(rank)} --lora-modules point=PATH/TO/THIS/FOLDER",
        "```",
    ]


def _lost(lost: Truncation) -> list[str]:
    lines = [f"Relative error of the whole change in Frobenius norm: {lost.relative_error:.3g}."]
    if lost.logits is not None:
        found = lost.logits
        lines += [
            f"On {found.prompts} prompts ({found.positions} tokens), against the exact policy: KL {found.kl_mean:.3g} nats a token on average and {found.kl_max:.3g} at most; "
            f"relative error of the logits {found.relative_error:.3g}; {found.share_of_change:.1%} of what the adapters change.",
        ]
    worst = sorted(lost.layers.items(), key=lambda item: -item[1].error)[:LISTED]
    rows = [
        (path, layer.rank, layer.full_rank, f"{layer.error / layer.norm if layer.norm else 0.0:.3g}")
        for path, layer in worst
    ]
    return [
        *lines,
        "",
        f"The layers that lost most, of {len(lost.layers)} ({TRUNCATION} has all):",
        "",
        *table(("layer", "rank", "exact rank", "relative error"), rows),
    ]


def _origin(facts: ExportFacts) -> list[str]:
    manifest = facts.manifest
    rows: list[tuple[str, str]] = [("base", f"`{manifest.base.name_or_path}`")]
    if manifest.base.revision:
        rows.append(("base revision", f"`{manifest.base.revision}`"))
    rows.append(("digest of the base's weights", f"`{manifest.base.digest}`"))
    if facts.origin:
        rows.append(("exported from", f"`{facts.origin}`"))
    rows += [(str(name), str(value)) for name, value in manifest.training.items() if name in ("method", "paper")]
    digests = adapter_digests(manifest)
    for name, weight in facts.weights.items():
        digest = f", sha256 `{digests[name]}`" if name in digests else ""
        rows.append((f"adapter {name}", f"weight {weight:.6g}{digest}"))
    return [*table(("what", "which"), rows), "", f"`{EXPORT}` says the same to programs."]
