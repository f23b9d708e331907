"""Turn what a user names as the model into the steerable policy that training starts from."""

from collections.abc import Sequence

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frontier.errors import InputError
from moalign.conditioning.adapter_mixture import SHARED, add_adapters, check_objective_names
from moalign.loading import load_base, load_tokenizer
from moalign.policy import SteerablePolicy
from moalign.training.steering_config import SteeringConfig


def starting_policy(
    model: str | PreTrainedModel | SteerablePolicy,
    objectives: Sequence[str],
    config: SteeringConfig,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None,
) -> SteerablePolicy:
    """The policy that training starts from: a given one, or fresh adapters over a base model.

    Args:
        model (`str`, `PreTrainedModel` or `SteerablePolicy`): what the user named.
        objectives (`Sequence[str]`): the reward's.
        config (`SteeringConfig`): conditioning and LoRAs of a fresh policy.
        seed (`int`): of fresh adapters.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): the base's own by default.

    Raises:
        InputError: the policy's objectives or its conditioning are others, it lacks the shared adapter that is asked for, the model already carries adapters or cannot be loaded.
    """
    if isinstance(model, SteerablePolicy):
        if tuple(model.objectives) != tuple(objectives):
            raise InputError(
                f"the reward's objectives are {', '.join(objectives)}, the policy's are {', '.join(model.objectives)}: "
                "they must be the same in the same order (`reward_heads.select` reorders a reward)"
            )
        if model.conditioning.kind != config.conditioning:
            raise InputError(
                f"conditioning is {config.conditioning}, but the policy to train further is told its preference by {model.conditioning.kind}"
            )
        if config.shared_target_modules is not None and SHARED not in model.conditioning.adapters:
            raise InputError(
                "the settings ask for a shared adapter, but the policy to train further has none: "
                f"its adapters are {', '.join(model.conditioning.adapters)}"
            )
        vars(model.model).pop(
            "gradient_checkpointing_enable", None
        )  # an earlier run's wrapper reads that run's weights
        if getattr(model.base, "is_activation_checkpointing", False):
            model.base.gradient_checkpointing_disable()
        return model
    if isinstance(model, PeftModel):
        raise InputError("the model already carries adapters: load it as a SteerablePolicy to train it further")
    check_objective_names(objectives)
    base = load_base(model) if isinstance(model, str) else model
    if tokenizer is None:
        tokenizer = load_tokenizer(base.config.name_or_path)
    conditioning = config.make_conditioning(tuple(objectives))
    adapters = {name: config.lora_config(base) for name in conditioning.adapters}
    if config.shared_target_modules is not None:
        adapters[SHARED] = config.lora_config(base, config.shared_target_modules)
    peft_model = add_adapters(base, adapters, seed)
    return SteerablePolicy(peft_model, tokenizer, objectives, conditioning=conditioning)
