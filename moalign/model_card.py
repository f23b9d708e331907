"""The model card of a bundle: what the policy can trade, what its weights refer to, what its front looks like."""

from typing import TYPE_CHECKING, Any

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
    lines = [
        "---",
        "library_name: moalign",
        *on_hub,
        "tags: [moalign, multi-objective, steerable, peft, lora]",
        "---",
        "",
        "# A steerable policy",
        "",
        f"One model for every trade-off between **{'**, **'.join(manifest.objectives)}** (all maximised). Each request brings its own weights; the",
        f"policy at weights w is exactly `{base}` + Σ w_k · s_k · B_k · A_k, one plain PEFT LoRA per objective in this folder.",
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
        lines += ["## Training", "", *_table(("setting", "value"), list(manifest.training.items())), ""]
    if manifest.normalizer:
        lines += ["## What the weights refer to", ""]
        lines += [f"Rewards are centred and scaled by {manifest.normalizer.get('source', 'the reference policy')}:", ""]
        rows = zip(
            manifest.normalizer.get("objectives", manifest.objectives),
            manifest.normalizer.get("location", []),
            manifest.normalizer.get("scale", []),
            strict=False,
        )
        lines += [*_table(("objective", "location", "scale"), [(n, f"{a:.4g}", f"{b:.4g}") for n, a, b in rows]), ""]
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


def _shares(k: int) -> list[float]:
    """Weights for an example that sum to 1 in print as well."""
    first = round(1 - 0.1 * (k - 1), 1) if k < 10 else 1.0
    return [first] + [0.1 if k < 10 else 0.0] * (k - 1)


def _table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    def line(cells: Any) -> str:
        return "| " + " | ".join(str(c) for c in cells) + " |"

    return [line(head), line("---" for _ in head), *(line(row) for row in rows)]
