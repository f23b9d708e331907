"""Turn what a user names as the model into the steerable policy that training starts from."""

from collections.abc import Sequence

from peft import LoraConfig, PeftModel
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from frontier.errors import InputError
from moalign.conditioning.adapter_mixture import add_adapters, load_base
from moalign.policy import SteerablePolicy


def starting_policy(
    model: str | PreTrainedModel | SteerablePolicy,
    objectives: Sequence[str],
    lora: LoraConfig,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None,
) -> SteerablePolicy:
    """The policy that training starts from: a given one, or fresh adapters over a base model.

    Args:
        model (`str`, `PreTrainedModel` or `SteerablePolicy`): what the user named.
        objectives (`Sequence[str]`): the reward's, which name the adapters.
        lora (`LoraConfig`): of fresh adapters.
        seed (`int`): of fresh adapters.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): the base's own by default.

    Raises:
        InputError: the policy's objectives are others, the model already carries adapters or cannot be loaded.
    """
    if isinstance(model, SteerablePolicy):
        if tuple(model.objectives) != tuple(objectives):
            raise InputError(
                f"the reward's objectives are {', '.join(objectives)}, the policy's are {', '.join(model.objectives)}: "
                "they must be the same in the same order (`reward_heads.select` reorders a reward)"
            )
        return model
    if isinstance(model, PeftModel):
        raise InputError("the model already carries adapters: load it as a SteerablePolicy to train it further")
    base = load_base(model) if isinstance(model, str) else model
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(base.config.name_or_path, padding_side="left")
    return SteerablePolicy(add_adapters(base, objectives, lora, seed), tokenizer, objectives)
