"""`moalign front`: measure what a policy does at many preferences, draw it, and put the figures on its card."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_writable
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.sampling_options import check_sampling
from moalign.cli.sources import REWARD_HELP, distinct_prompts, load_normalizer, load_reward, preferences_from_file

if TYPE_CHECKING:
    from frontier.front import ParetoFront
    from moalign.bundle import Manifest
    from moalign.preference import Preference
    from reward_heads import Normalizer, VectorReward


FIGURES = ("hypervolume", "eum", "mip", "controllability_gap")


@dataclass
class FrontOptions:
    """Options of `moalign front`."""

    bundle: str = field(metadata=about("The bundle to measure.", positional=True))
    reward: str = field(metadata=about(REWARD_HELP))
    dataset: str = field(metadata=about("Prompts: any records (.jsonl, .json, .csv, .parquet, .txt, a hub name)."))
    partitions: int = field(
        default=5, metadata=about("Cut each edge of the simplex into so many steps; the lattice's points are measured.")
    )
    preferences: str | None = field(
        default=None, metadata=about("A file with one preference a line, instead of the lattice.")
    )
    n_prompts: int = field(default=64, metadata=about("How many different prompts, spread evenly over the data."))
    samples_per_prompt: int = field(default=1, metadata=about("Completions per prompt and preference."))
    max_new_tokens: int = field(default=64, metadata=about("Longest completion in tokens."))
    temperature: float = field(default=1.0, metadata=about("Of the sampling; 0 is greedy."))
    batch_size: int = field(default=128, metadata=about("Completions per batch."))
    seed: int = field(default=0, metadata=about("Of the sampling."))
    output_dir: str | None = field(default=None, metadata=about("Where to write, by default into the bundle."))
    compare: list[str] | None = field(
        default=None, metadata=about("Other bundles to measure the same way and draw beside it.")
    )
    base: str | None = field(default=None, metadata=about("Where the base model lies now, if it moved."))
    skip_bad_rows: bool = field(
        default=False, metadata=about("Leave broken rows of the data out, and write them to a side file.")
    )


COMMAND = Command(
    "front",
    "Measure a steerable policy at a lattice of preferences, along with the reference policy: mean rewards with standard errors, KL, hypervolume, EUM, MIP "
    "and their difference, with 95 % intervals over the prompts. Writes front.json (its rewards on each prompt in front.prompts.safetensors beside it), front.png, "
    "front.html (works offline), and the figures into the bundle's model card.",
    (FrontOptions,),
)


def run(arguments: Sequence[str]) -> int:
    """Measure, write, print."""
    values = parse(COMMAND, arguments)
    if values is None:
        return 0
    options = values.build(FrontOptions)
    check_sampling(options, "partitions")
    from frontier.front_json import prompts_file
    from moalign.bundle import read_manifest

    bundles = _labelled([options.bundle, *(options.compare or [])])
    manifests = {label: read_manifest(path) for label, path in bundles.items()}
    own, manifest = next(iter(manifests.items()))
    for label, other in manifests.items():
        if sorted(other.objectives) != sorted(manifest.objectives):
            raise InputError(
                f"bundle {bundles[label]} has the objectives {', '.join(other.objectives)}, {options.bundle} has {', '.join(manifest.objectives)}: "
                "only fronts over the same objectives compare"
            )
    out = check_writable(options.output_dir or options.bundle)
    preferences = _preferences(options, manifest.objectives)
    prompts = _prompts(options)
    hide_loading_bars()
    from reward_heads import select

    reward = select(load_reward(options.reward), manifest.objectives)
    normalizer = load_normalizer(manifest.normalizer, manifest.objectives)
    info = {
        "dataset": options.dataset,
        "reward": options.reward,
        "max_new_tokens": options.max_new_tokens,
        "temperature": options.temperature,
        "samples_per_prompt": options.samples_per_prompt,
        "seed": options.seed,
    }
    fronts = {
        label: _measure(
            path, manifests[label], manifest.objectives, reward, normalizer, prompts, preferences, options, info
        )
        for label, path in bundles.items()
    }
    others = _write(out, fronts, bundle=Path(options.bundle), manifest=manifest)
    say(fronts[own].table() + "\n")
    say(figures(fronts))
    say(f"\nWritten: {out}/front.json, {prompts_file('front.json').name}, front.png, front.html")
    for label, name in others.items():
        say(f"The front of {label}: {out}/{name}, {prompts_file(name).name}")
    return 0


def adapters_digest(manifest: "Manifest") -> str:
    """One sha256 for all adapter files of a bundle: tells whether a front was measured on what the bundle holds now."""
    return hashlib.sha256(json.dumps(manifest.files, sort_keys=True).encode()).hexdigest()


def figures(fronts: "dict[str, ParetoFront]") -> str:
    """The figures of merit of each front and of the reference policy, with one reference point for all and intervals over the prompts."""
    from frontier.front import ParetoFront, common_reference_point

    first = next(iter(fronts.values()))
    place = common_reference_point(*fronts.values())
    lines = [
        "hypervolume above " + ", ".join(f"{n} {v:.3f}" for n, v in zip(first.objectives, place, strict=True)) + ":"
    ]
    width = max(len("reference policy"), *map(len, fronts))
    found = {label: _with_intervals(label, front, place) for label, front in fronts.items()}
    for label in fronts:
        lines.append(f"  {label:<{width}}  {found[label]['hypervolume']}")
    if first.reference_policy is not None:
        alone = ParetoFront(first.objectives, (first.reference_policy,))
        lines.append(f"  {'reference policy':<{width}}  {alone.hypervolume(place).value:.4f}")
    for label, front in fronts.items():
        head = f"{label}: " if len(fronts) > 1 else ""
        lines.append(
            f"{head}EUM {found[label]['eum']} (best of the set), MIP {found[label]['mip']} (the policy asked for), "
            f"difference {found[label]['controllability_gap']}"
        )
        followed = ", ".join(f"{name} {value:.2f}" for name, value in front.steering().items())
        lines.append(f"{head}steering (Spearman of weight and reward): {followed}")
    lines += dict.fromkeys(note for each in found.values() for note in each["notes"])
    if first.normalizer is None:
        lines.append("rewards are in their own units: the bundle has no normaliser")
    return "\n".join(lines)


def _with_intervals(label: str, front: "ParetoFront", place: Any) -> dict[str, Any]:
    """By figure, its value with the interval where there is one; and under `notes` what to know of them."""
    from frontier.compare import compare_fronts, usual_resamples

    resamples = min(1000, usual_resamples({label: front}))
    found = compare_fronts({label: front}, reference_point=place, resamples=resamples)
    # Value and interval of one computation: over each weight once, though a file may ask for it twice.
    texts: dict[str, Any] = {name: f"{found[name].values[label]:.4f}" for name in FIGURES}
    notes = list(found.notes)
    for name in ("hypervolume", "eum", "mip"):
        estimate = found[name].estimates.get(label)
        if estimate is not None:
            texts[name] += f" [{estimate.low:.4f}, {estimate.high:.4f}]"
            # The best of noisy means is too high on average, so the figure may lie above its own interval.
            notes.append("[low, high]: 95 % interval over prompts, free of what the best of noisy means is too high by")
    return texts | {"notes": list(dict.fromkeys(notes))}


def _labelled(paths: Sequence[str]) -> dict[str, str]:
    """A short, unique label for each bundle: its folder's name, the path where two share it."""
    names = [Path(path).resolve().name for path in paths]
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise InputError(f"compare: a bundle is named twice in {', '.join(paths)}")
    return {name if names.count(name) == 1 else path: path for name, path in zip(names, paths, strict=True)}


def _preferences(options: FrontOptions, objectives: Sequence[str]) -> "list[Preference]":
    if options.preferences is not None:
        return preferences_from_file(options.preferences, objectives)
    from moalign.preference_sampling import lattice

    return lattice(objectives, options.partitions)


def _prompts(options: FrontOptions) -> list[Any]:
    from moalign.data import read_prompts

    records = read_prompts(options.dataset, skip_bad_rows=options.skip_bad_rows)
    prompts = distinct_prompts(records.dataset["prompt"], options.n_prompts)
    if len(prompts) < 2:
        raise InputError(
            f"{options.dataset}: a front needs at least 2 different prompts for its standard errors, found {len(prompts)}"
        )
    return prompts


def _measure(
    path: str,
    manifest: "Manifest",
    objectives: Sequence[str],
    reward: "VectorReward",
    normalizer: "Normalizer | None",
    prompts: list[Any],
    preferences: "list[Preference]",
    options: FrontOptions,
    info: dict[str, Any],
) -> "ParetoFront":
    from frontier.front import ParetoFront
    from moalign.evaluation import measure_front
    from moalign.policy import SteerablePolicy
    from reward_heads import select

    policy = SteerablePolicy.from_pretrained(path, base=options.base)
    order = policy.objectives
    front = measure_front(
        policy,
        select(reward, order),
        prompts,
        preferences,
        normalizer=normalizer.select(order) if normalizer is not None else None,
        samples_per_prompt=options.samples_per_prompt,
        source=str(manifest.training.get("method", "steerable")),
        info=info | {"adapters_sha256": adapters_digest(manifest)},
        seed=options.seed,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        batch_size=options.batch_size,
    )
    if tuple(objectives) == tuple(order):
        return front
    return _reordered(front, objectives, ParetoFront, normalizer)


def _reordered(
    front: "ParetoFront", objectives: Sequence[str], of: Any, normalizer: "Normalizer | None"
) -> "ParetoFront":
    """The same front with its objectives in another order, so that it compares."""
    import dataclasses

    at = [front.objectives.index(name) for name in objectives]

    def swap(point: Any) -> Any:
        return dataclasses.replace(
            point,
            rewards=tuple(point.rewards[k] for k in at),
            standard_error=tuple(point.standard_error[k] for k in at),
        )

    samples = front.prompt_rewards
    return of(
        tuple(objectives),
        tuple(swap(p) for p in front.points),
        swap(front.reference_policy) if front.reference_policy is not None else None,
        normalizer.to_json() if normalizer is not None else None,
        front.info,
        samples.select(objectives) if samples is not None else None,
    )


def _write(out: Path, fronts: "dict[str, ParetoFront]", bundle: Path, manifest: "Manifest") -> dict[str, str]:
    """Write everything; the names of the other fronts' files, by label."""
    from frontier.atomic import write_text
    from frontier.plot import front_page, plot_front
    from moalign.model_card import model_card

    (own, front), *others = fronts.items()
    drawn: Any = fronts if others else front
    front.save(out / "front.json")
    names = _file_names([label for label, _ in others])
    for label, other in others:
        other.save(out / names[label])
    title = f"Pareto front of {own}"
    plot_front(drawn, out / "front.png", title=title)
    front_page(drawn, out / "front.html", title=title)
    if out.resolve() == bundle.resolve():
        write_text(out / "README.md", model_card(manifest, front))
    return names


def _file_names(labels: Sequence[str]) -> dict[str, str]:
    """A file for each label: named for its folder, and numbered from the second of a name on."""
    found: dict[str, str] = {}
    for label in labels:
        name = Path(label).resolve().name
        tries = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
        # Some file systems take Front and front for one.
        taken = {other.lower() for other in found.values()}
        found[label] = next(file for each in tries if (file := f"front-{each}.json").lower() not in taken)
    return found
