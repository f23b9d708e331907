"""`moalign soup search`: find the soups that give the best front, keep what was measured, draw it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_unused, check_writable
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.sampling_options import check_sampling
from moalign.cli.sources import REWARD_HELP, distinct_prompts, load_normalizer, load_reward

if TYPE_CHECKING:
    from frontier.front import ParetoFront
    from frontier.realize.soup import Evaluations, SoupSpace
    from moalign.soup import SoupEvaluator, SoupPolicy

# A test holds these against `frontier.realize.soup.OPTIMIZERS`, which this must not import to stay quick.
OPTIMIZERS = ("nsga2", "nehvi", "improvement", "random", "lattice")
FRONT, KEPT = "front.json", "evaluations.jsonl"


@dataclass
class SearchOptions:
    """Options of `moalign soup search`."""

    reward: str = field(metadata=about(REWARD_HELP))
    dataset: str = field(metadata=about("Prompts: any records (.jsonl, .json, .csv, .parquet, .txt, a hub name)."))
    output_dir: str = field(
        metadata=about(f"Where {FRONT}, its pictures and {KEPT} go. A search that was killed goes on from there.")
    )
    bundle: str | None = field(
        default=None, metadata=about("A bundle, whose adapters are the experts (or give base and experts).")
    )
    base: str | None = field(
        default=None, metadata=about("The model under the experts; with a bundle, where it lies now, if it moved.")
    )
    experts: dict[str, str] | None = field(
        default=None,
        metadata=about("LoRA folders or finetuned models by name: helpful=runs/a,brief=runs/b. Instead of a bundle."),
    )
    blocks: int = field(
        default=0,
        metadata=about(
            "Into how many even runs of layers the model is cut, each with coefficients of its own, the embeddings and the output layer too; 0: the same everywhere."
        ),
    )
    limits: tuple[float, float] | None = field(
        default=None,
        metadata=about(
            "Least and largest coefficient, as in 0,1.5 (below 0 unlearns, above 1 exaggerates). By default those of a block are not negative and sum to 1."
        ),
    )
    optimizer: str = field(
        default="nsga2",
        metadata=about(
            "nsga2; nehvi: botorch's qLogNEHVI (extra explore); improvement: exact expected hypervolume improvement, for small budgets; random; lattice: plain linear interpolation."
        )
        | {"choices": OPTIMIZERS},
    )
    budget: int = field(default=100, metadata=about("How many soups to evaluate."))
    kl_coefficient: float = field(
        default=0.0, metadata=about("What a nat of KL divergence from the base costs, in each (normalised) reward.")
    )
    n_prompts: int = field(default=64, metadata=about("How many different prompts, spread evenly over the data."))
    samples_per_prompt: int = field(default=1, metadata=about("Completions per prompt and soup."))
    max_new_tokens: int = field(default=64, metadata=about("Longest completion in tokens."))
    temperature: float = field(default=1.0, metadata=about("Of the sampling; 0 is greedy."))
    batch_size: int = field(default=128, metadata=about("Completions per batch."))
    seed: int = field(default=0, metadata=about("Of the optimizer and of the sampling."))
    everything: bool = field(default=False, metadata=about("Keep soups in the front that others dominate."))
    skip_bad_rows: bool = field(
        default=False, metadata=about("Leave broken rows of the data out, and write them to a side file.")
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata=about(f"Replace a front that output_dir already holds. What {KEPT} knows is used all the same."),
    )


def command() -> Command:
    """The action and its options."""
    return Command(
        "soup search",
        "Find the soups of several experts (the base plus a weighted sum of what each changes, the same weights everywhere or others in every block of layers) "
        f"that give the best Pareto front under a vector of rewards. Writes {FRONT} (every point carries its coefficients), front.png and front.html.",
        (SearchOptions,),
        details="examples/soup.yaml is a configuration to start from. Next: moalign pick OUTPUT_DIR ..., and moalign soup export OUTPUT_DIR --point N ...",
    )


def run(arguments: Sequence[str]) -> int:
    """Search, write, print."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(SearchOptions)
    _check(options)
    out = check_unused(options.output_dir, options.overwrite_output_dir, names=(FRONT,))
    hide_loading_bars()
    from frontier.realize.soup import Evaluations

    policy, normalizer, record = _experts(options, out)
    space = _space(options, policy)
    evaluate = _evaluator(options, policy, normalizer)
    kept = Evaluations(check_writable(out) / KEPT, evaluate.content(), policy.experts.places)
    if len(kept) or kept.torn:
        torn = f"; {kept.torn} torn line{'s' * (kept.torn != 1)} of a killed run skipped" if kept.torn else ""
        say(f"{out / KEPT} holds {len(kept)} evaluation{'s' * (len(kept) != 1)}{torn}")
    front = _search(options, space, evaluate, kept, record)
    _write(out, front)
    found = front.info["search"]
    say(front.table() + "\n")
    place = ", ".join(f"{n} {v:.3f}" for n, v in zip(front.objectives, found["reference_point"], strict=True))
    say(f"hypervolume above {place}: {found['hypervolume']:.4f}, of {found['evaluations']} soups")
    say(f"\nWritten: {out}/{FRONT}, front.png, front.html. Next: moalign soup export {out} --point N --output_dir OUT")
    return 0


def _check(options: SearchOptions) -> None:
    if (options.bundle is None) == (options.experts is None):
        raise InputError("give either a bundle, or base and experts")
    if options.experts is not None and options.base is None:
        raise InputError("experts need the base that they changed: give --base")
    check_sampling(options, "budget")
    if options.optimizer == "lattice" and options.blocks:
        raise InputError("optimizer lattice interpolates the whole model: leave blocks at 0, or take another optimizer")


def _experts(options: SearchOptions, out: Path) -> "tuple[SoupPolicy, dict[str, Any] | None, dict[str, Any]]":
    """The policy, the normaliser's document, and what a reader of the front needs to make its soups again."""
    from moalign.bundle import portable_location, read_manifest
    from moalign.soup import soup_of_bundle, soup_of_folders
    from moalign.soup.record import record_of

    if options.bundle is not None:
        policy = soup_of_bundle(options.bundle, base=options.base)
        record = record_of(policy, out) | {"bundle": portable_location(options.bundle, out)}
        return policy, read_manifest(options.bundle, verify=False).normalizer, record
    assert options.base is not None
    assert options.experts is not None
    policy = soup_of_folders(options.base, options.experts)
    return policy, None, record_of(policy, out)


def _space(options: SearchOptions, policy: "SoupPolicy") -> "SoupSpace":
    from frontier.realize.soup import SoupSpace, blocks_of

    blocks = blocks_of(policy.experts.places, options.blocks)
    return SoupSpace(policy.experts.names, blocks, options.limits)


def _evaluator(options: SearchOptions, policy: "SoupPolicy", normalizer: dict[str, Any] | None) -> "SoupEvaluator":
    from moalign.data import read_prompts
    from moalign.soup import SoupEvaluator

    records = read_prompts(options.dataset, skip_bad_rows=options.skip_bad_rows)
    prompts = distinct_prompts(records.dataset["prompt"], options.n_prompts)
    reward = load_reward(options.reward)
    known = normalizer is not None and set(reward.objectives) <= set(normalizer["objectives"])
    return SoupEvaluator(
        policy,
        reward,
        prompts,
        normalizer=load_normalizer(normalizer, reward.objectives) if known else None,
        reward_name=options.reward,
        kl_coefficient=options.kl_coefficient,
        samples_per_prompt=options.samples_per_prompt,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        seed=options.seed,
        batch_size=options.batch_size,
    )


def _search(
    options: SearchOptions,
    space: "SoupSpace",
    evaluate: "SoupEvaluator",
    kept: "Evaluations",
    record: dict[str, Any],
) -> "ParetoFront":
    from frontier.realize.soup import search_soups

    named = ("dataset", "reward", "max_new_tokens", "temperature", "samples_per_prompt", "seed", "kl_coefficient")
    return search_soups(
        evaluate,
        space,
        objectives=evaluate.objectives,
        budget=options.budget,
        optimizer=options.optimizer,
        seed=options.seed,
        evaluations=kept,
        prompts=evaluate.prompt_ids,
        everything=options.everything,
        normalizer=None if evaluate.normalizer is None else evaluate.normalizer.to_json(),
        info={"soup": record} | {name: getattr(options, name) for name in named},
    )


def _write(out: Path, front: "ParetoFront") -> None:
    from frontier.plot import front_page, plot_front

    front.save(out / FRONT)
    plot_front(front, out / "front.png", title="Pareto front of soups")
    front_page(front, out / "front.html", title="Pareto front of soups")
