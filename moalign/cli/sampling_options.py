"""Check the options that every action shares which samples from a policy to measure it."""

from typing import Protocol

from frontier.errors import InputError


class Sampling(Protocol):
    """Such options; whoever has them may have more."""

    n_prompts: int
    samples_per_prompt: int
    max_new_tokens: int
    temperature: float
    batch_size: int


def check_sampling(options: Sampling, *more: str) -> None:
    """Refuse counts below 1, fewer than 2 prompts and a negative temperature, before anything is loaded.

    Args:
        options (`Sampling`): of the action.
        more (`str`): names of further options of it that must be at least 1.

    Raises:
        InputError: names the option and what was found.
    """
    for name in (*more, "samples_per_prompt", "max_new_tokens", "batch_size"):
        if getattr(options, name) < 1:
            raise InputError(f"{name} must be at least 1, found {getattr(options, name)}")
    if options.n_prompts < 2:
        raise InputError(f"n_prompts must be at least 2, found {options.n_prompts}: one prompt gives no standard error")
    if options.temperature < 0:
        raise InputError(f"temperature must not be negative, found {options.temperature}")
