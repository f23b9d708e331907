"""`moalign generate`: answer prompts at one preference or at several, side by side."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.quiet import hide_loading_bars

if TYPE_CHECKING:
    from moalign.bundle import Manifest
    from moalign.preference import Preference

LOG = logging.getLogger(__name__)


@dataclass
class GenerateOptions:
    """Options of `moalign generate`."""

    bundle: str = field(metadata=about("The bundle.", positional=True))
    prompt: list[str] | None = field(default=None, metadata=about("A prompt; may be repeated.", repeat=True))
    prompts_file: str | None = field(
        default=None, metadata=about("Prompts from any records (.jsonl, .csv, .txt, ...).")
    )
    preference: list[str] | None = field(
        default=None,
        metadata=about(
            "helpful=0.7,brief=0.3; repeat it to see every prompt at each. By default the bundle's own.", repeat=True
        ),
    )
    reference: bool = field(default=False, metadata=about("Answer with the reference policy as well."))
    chat: bool = field(
        default=False, metadata=about("Hand each prompt to the base model's chat template as a user's message.")
    )
    max_new_tokens: int = field(default=128, metadata=about("Longest completion in tokens."))
    temperature: float = field(default=1.0, metadata=about("Of the sampling; 0 is greedy."))
    top_p: float = field(default=1.0, metadata=about("Sample from the smallest set of tokens with this probability."))
    seed: int = field(default=0, metadata=about("Of the sampling: the same seed gives the same answers."))
    batch_size: int = field(default=64, metadata=about("Completions per batch."))
    base: str | None = field(default=None, metadata=about("Where the base model lies now, if it moved."))
    json: bool = field(default=False, metadata=about("Print one JSON object a line."))


COMMAND = Command("generate", "Answer prompts at one preference or several.", (GenerateOptions,))


def run(arguments: Sequence[str]) -> int:
    """Print the answers."""
    values = parse(COMMAND, arguments)
    if values is None:
        return 0
    options = values.build(GenerateOptions)
    for name in ("max_new_tokens", "batch_size"):
        if getattr(options, name) < 1:
            raise InputError(f"{name} must be at least 1, found {getattr(options, name)}")
    if options.temperature < 0 or not 0 < options.top_p <= 1:
        raise InputError(
            f"temperature must be at least 0 and top_p in (0, 1], found {options.temperature} and {options.top_p}"
        )
    from moalign.bundle import read_manifest

    asked = _asked(options, read_manifest(options.bundle))
    prompts = _prompts(options)
    hide_loading_bars()
    from moalign.policy import SteerablePolicy

    policy = SteerablePolicy.from_pretrained(options.bundle, base=options.base)
    sampling: dict[str, Any] = {"do_sample": False}
    if options.temperature > 0:
        sampling = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
    rows = [(prompt, preference) for prompt in prompts for preference in asked]
    answers: list[str] = []
    for start in range(0, len(rows), options.batch_size):
        batch = rows[start : start + options.batch_size]
        answers += policy.generate(
            [prompt for prompt, _ in batch],
            [preference for _, preference in batch],
            seed=options.seed + start,
            max_new_tokens=options.max_new_tokens,
            **sampling,
        )
    _print(rows, answers, options.json, len(asked))
    if not options.chat and getattr(policy.tokenizer, "chat_template", None) and not all(a.strip() for a in answers):
        LOG.warning("an answer is empty; the model has a chat template, and --chat hands it the prompt as a message")
    return 0


def _asked(options: GenerateOptions, manifest: "Manifest") -> "list[Preference | None]":
    """The preferences to answer at; `None` is the reference policy."""
    from moalign.preference import Preference

    texts = options.preference or []
    asked: list[Preference | None] = [Preference.coerce(text, manifest.objectives) for text in texts]
    if not asked:
        default = manifest.default_preference
        own = Preference.from_json(default, manifest.objectives) if default else Preference.uniform(manifest.objectives)
        asked = [own]
    return [*asked, None] if options.reference else asked


def _prompts(options: GenerateOptions) -> list[Any]:
    prompts: list[Any] = list(options.prompt or [])
    if options.prompts_file is not None:
        from moalign.data import read_prompts

        prompts += list(read_prompts(options.prompts_file).dataset["prompt"])
    if not prompts:
        raise InputError("nothing to answer: give --prompt TEXT or --prompts_file FILE")
    if options.chat:
        return [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    return prompts


def _print(rows: "list[tuple[Any, Preference | None]]", answers: list[str], as_json: bool, per_prompt: int) -> None:
    for i, ((prompt, preference), answer) in enumerate(zip(rows, answers, strict=True)):
        if as_json:
            named = preference.to_json() if preference is not None else None
            say(json.dumps({"prompt": prompt, "preference": named, "completion": answer}, ensure_ascii=False))
            continue
        if i % per_prompt == 0:
            shown = prompt if isinstance(prompt, str) else prompt[-1]["content"]
            say(("\n" if i else "") + f"> {shown}")
        say(f"[{preference if preference is not None else 'reference policy'}] {answer.strip()}")
