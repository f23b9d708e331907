"""The model card of a bundle: what the policy can trade, what its weights refer to, what its front looks like."""

from typing import TYPE_CHECKING, Any

import torch

from moalign.conditioning.base import Conditioning, conditioning_from_json

if TYPE_CHECKING:
    from frontier.front import ParetoFront
    from moalign.bundle import Manifest


def model_card(manifest: "Manifest", front: "ParetoFront | None" = None) -> str:
    """Markdown with the metadata block that model hubs read.

    Args:
        manifest (`Manifest`): of the bundle.
        front (`ParetoFront`, *optional*): the measured front, as a table with its hypervolume.
    """
    base = manifest.base.name_or_path
    # Hubs check that this names a repository, which a local folder does not.
    on_hub = [] if base.startswith((".", "/")) else [f"base_model: {base}"]
    example = ",".join(
        f"{name}={share}" for name, share in zip(manifest.objectives, _shares(len(manifest.objectives)), strict=True)
    )
    conditioning = conditioning_from_json(manifest.conditioning, manifest.objectives)
    steerable = conditioning.kind != "none"
    lines = [
        "---",
        "library_name: moalign",
        *on_hub,
        f"tags: [moalign, multi-objective,{' steerable,' if steerable else ''} peft, lora]",
        "---",
        "",
        "# A steerable policy" if steerable else "# A policy for several objectives",
        "",
        *_PARAGRAPHS[conditioning.kind](conditioning, base),
        "",
        "```python",
        "from moalign import SteerablePolicy",
        "",
        'policy = SteerablePolicy.from_pretrained("PATH/TO/THIS/FOLDER")',
        f'policy.generate(["Hello!"], "{example}", max_new_tokens=64)',
        "```",
        "",
    ]
    if manifest.training:
        lines += ["## Training", "", *table(("setting", "value"), list(manifest.training.items())), ""]
    if manifest.normalizer:
        lines += ["## What the weights refer to", ""]
        lines += [f"Rewards are centred and scaled by {manifest.normalizer.get('source', 'the reference policy')}:", ""]
        rows = zip(
            manifest.normalizer.get("objectives", manifest.objectives),
            manifest.normalizer.get("location", []),
            manifest.normalizer.get("scale", []),
            strict=False,
        )
        lines += [*table(("objective", "location", "scale"), [(n, f"{a:.4g}", f"{b:.4g}") for n, a, b in rows]), ""]
    if front is not None:
        volume = front.hypervolume()
        where = ", ".join(f"{n} {v:.3g}" for n, v in zip(front.objectives, volume.reference_point, strict=True))
        lines += [
            "## Measured front",
            "",
            f"Hypervolume {volume.value:.4g} above the reference point ({where}), EUM {front.eum():.4g}, MIP {front.mip():.4g}, controllability gap "
            f"{front.controllability_gap():.4g}, {volume.n_prompts} prompts a point.",
            "",
            "```",
            front.table(),
            "```",
            "",
        ]
    return "\n".join(lines)


def _mixture(conditioning: Conditioning, base: str) -> list[str]:
    lines = [
        f"One model for every trade-off between **{'**, **'.join(conditioning.objectives)}** (all maximised). Each request brings its own weights; the"
    ]
    if len(conditioning.adapters) == len(conditioning.objectives):
        return [
            *lines,
            f"policy at weights w is exactly `{base}` + Σ w_k · s_k · B_k · A_k, one plain PEFT LoRA per objective in this folder.",
        ]
    shared = conditioning.adapters[-1]
    return [
        *lines,
        f"policy at weights w is exactly `{base}` + Σ w_k · (s_k · B_k · A_k + s · B · A): one plain PEFT LoRA per objective in this folder, and one, `{shared}`,",
        "that all trade-offs have in common.",
    ]


def _prompt(conditioning: Conditioning, base: str) -> list[str]:
    weights = torch.tensor([_shares(len(conditioning.objectives))])
    said = str(conditioning.prompts([""], weights)[0]).strip()
    return [
        f"One model for every trade-off between **{'**, **'.join(conditioning.objectives)}** (all maximised). Each request brings its own weights, which the policy",
        f"reads at the head of its prompt (in the system message of a conversation). In the example below it reads `{said}`. The policy is `{base}` with",
        f"one plain PEFT LoRA, the folder `{conditioning.adapters[0]}`.",
    ]


def _unconditioned(conditioning: Conditioning, base: str) -> list[str]:
    return [
        f"One model, trained on **{'**, **'.join(conditioning.objectives)}** (all maximised): it answers alike whatever weights a request",
        f"brings. The policy is `{base}` with one plain PEFT LoRA, the folder `{conditioning.adapters[0]}`.",
    ]


_PARAGRAPHS = {"adapter_mixture": _mixture, "prompt": _prompt, "none": _unconditioned}


def _shares(k: int) -> list[float]:
    """Weights for an example that sum to 1 in print as well."""
    first = round(1 - 0.1 * (k - 1), 1) if k < 10 else 1.0
    return [first] + [0.1 if k < 10 else 0.0] * (k - 1)


def table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    """The lines of a Markdown table; nested settings in a cell as `name value, name value`, numbers short."""

    def line(cells: Any) -> str:
        return "| " + " | ".join(_shown(c) for c in cells) + " |"

    return [line(head), line("---" for _ in head), *(line(row) for row in rows)]


def _shown(value: Any) -> str:
    """A cell: nested settings as `name value, name value`, numbers short."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
