"""Small trainings that must come out alike however many processes share them; run as a script in each of several processes, and imported by the tests.

torchrun --nproc_per_node 2 jobs.py BASE FOLDER JOB...
"""

import json
import os
import sys
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file

from moalign.methods.clp import CLPConfig, CLPTrainer
from moalign.methods.dpa import DPAConfig, DPATrainer
from moalign.methods.lagrangian import LagrangianConfig, LagrangianTrainer
from moalign.methods.maxmin import MaxMinConfig, MaxMinTrainer
from moalign.methods.modpo import MODPOConfig, MODPOTrainer
from reward_heads import FunctionReward

NAMES = ("vowels", "brief", "early")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PROMPTS = Dataset.from_dict({"prompt": ["a b", "c d e", "f", "g h ? i"] * 4})


def vowels(prompt, completion):
    return float(sum(word in "aeiou" for word in completion.split()))


def brief(prompt, completion):
    return -float(len(completion.split()))


def early(prompt, completion):
    return float(sum(word < "k" for word in completion.split()))


REWARD = FunctionReward(dict(zip(NAMES, (vowels, brief, early), strict=True)))


def letters(*numbers):
    """A text of one to five letters that the numbers decide."""
    seed = sum(n * p for n, p in zip(numbers, (7, 31, 101), strict=False))
    return " " + " ".join(LETTERS[(seed * (i + 3) + 11 * i * i) % 26] for i in range(1 + seed % 5))


def pairs(n=48, lengths=1):
    """Soft Bradley-Terry labels of the rewards; prompts of one to `lengths` times three words."""
    rows = []
    for i in range(n):
        a, b = letters(i, 1), letters(i, 2, 5)
        scores = REWARD.score(["", ""], [a, b])
        chance = torch.sigmoid(0.5 * (scores[0] - scores[1])).tolist()
        prompt = " ".join(LETTERS[(i * 5 + j) % 26] for j in range(1 + i % (3 * lengths)))
        labels = dict(zip(NAMES, chance, strict=True))
        rows.append({"prompt": prompt, "completion_a": a, "completion_b": b, "labels": labels})
    return Dataset.from_list(rows)


def word_tokenizer():
    """The word-level tokenizer of the tests."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", "<unk>", *LETTERS]
    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **special)


def fill_with_waves(parameters, size=0.05):
    """Fixed numbers of all sizes and signs: the same in every version of every library."""
    for i, parameter in enumerate(parameters):
        place = torch.arange(parameter.numel(), dtype=torch.float64)
        with torch.no_grad():
            parameter.copy_((2 * size * torch.sin(place * (0.7 + 0.11 * i) + place**2 * 1e-3 + i)).view_as(parameter))


def said_before(kind):
    """An online learner whose rollouts are texts that the prompt and the place in the group decide, so that runs can be compared number by number."""

    class Scripted(kind):
        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            group, tokenizer, seen = self.num_generations, self.policy.tokenizer, {}
            texts = []
            for ids in prompt_ids:
                place = seen[tuple(ids)] = seen.get(tuple(ids), -1) + 1
                texts.append(letters(sum(ids), place % group, self.state.global_step))
            return [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]

    return Scripted


def drawn_before(kind):
    """The rejection learner with such completions."""

    class Scripted(kind):
        def _draw(self, prompts, weights, n, seed):
            import moalign.training.rejection as module

            def scripted(policy, each, weights, **sampling):
                texts = [letters(len(prompt) + ord(prompt[0]), i % n, self.round) for i, prompt in enumerate(each)]
                end = policy.tokenizer.eos_token_id
                return texts, [[*policy.tokenizer(text)["input_ids"], end] for text in texts]

            own, module.draw_completions = module.draw_completions, scripted
            try:
                return super()._draw(prompts, weights, n, seed)
            finally:
                module.draw_completions = own

    return Scripted


ROLLOUT = {"num_generations": 4, "max_completion_length": 8, "beta": 0.05}
# Steps in proportion to the gradient: Adam's would blow up a last bit of a gradient that is nearly 0.
COMMON = {
    "max_steps": 3,
    "learning_rate": 0.05,
    "optim": "sgd",
    "lora_r": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
    "gradient_checkpointing": False,
}
# Name: trainer, configuration, its settings, data. Batches are those of all processes together.
JOBS = {
    "direct": (MODPOTrainer, MODPOConfig, {"per_device_train_batch_size": 8}, pairs),
    # Adam with an epsilon that keeps the last bits of a gradient near 0 from being blown up.
    "direct_adam": (
        MODPOTrainer,
        MODPOConfig,
        {"per_device_train_batch_size": 8, "optim": "adamw_torch", "adam_epsilon": 0.01},
        pairs,
    ),
    "trajectory": (MODPOTrainer, MODPOConfig, {"learning_rate": 0.05}, lambda: pairs(64, 6)),
    "direct_sampled": (
        MODPOTrainer,
        MODPOConfig,
        {"per_device_train_batch_size": 8, "rotation": "sampled", "gradient_accumulation_steps": 2},
        pairs,
    ),
    "direct_checkpointed": (
        MODPOTrainer,
        MODPOConfig,
        {"per_device_train_batch_size": 8, "gradient_checkpointing": True},
        pairs,
    ),
    "online": (
        said_before(CLPTrainer),
        CLPConfig,
        {**ROLLOUT, "per_device_train_batch_size": 16, "normalizer_samples": 32},
        lambda: PROMPTS,
    ),
    "rollouts": (
        CLPTrainer,
        CLPConfig,
        # Two completions a process, of very different lengths: one is done long before the other.
        {
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 60,
            "temperature": 5.0,
            "normalizer_samples": 32,
        },
        lambda: PROMPTS,
    ),
    "kl_mixing": (
        said_before(CLPTrainer),
        CLPConfig,
        {**ROLLOUT, "per_device_train_batch_size": 16, "kl_mixing": True, "normalizer_samples": 32},
        lambda: PROMPTS,
    ),
    "maxmin": (
        said_before(MaxMinTrainer),
        MaxMinConfig,
        {**ROLLOUT, "per_device_train_batch_size": 16, "normalizer_samples": 32},
        lambda: PROMPTS,
    ),
    "lagrangian": (
        said_before(LagrangianTrainer),
        LagrangianConfig,
        {
            **ROLLOUT,
            "per_device_train_batch_size": 16,
            "constraints": ["brief>=-2.5"],
            "normalizer_samples": 32,
        },
        lambda: PROMPTS,
    ),
    "rejection": (
        drawn_before(DPATrainer),
        DPAConfig,
        {
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 8,
            "rounds": 2,
            "prompts_per_round": 16,
            "epochs_per_round": 1,
            "conditioning": "adapter_mixture",
            "normalizer_samples": 32,
        },
        lambda: PROMPTS,
    ),
}


def train(job, base, folder, processes=1, resume=None, **changes):
    """Train a job and return its trainer; `changes` are settings."""
    torch.set_num_threads(1)
    trainer_class, config_class, settings, data = JOBS[job]
    settings = {**COMMON, "output_dir": str(folder), **settings, **changes}
    settings["per_device_train_batch_size"] //= processes  # given for all together
    if config_class is DPAConfig:
        settings["max_steps"] = -1
    trainer = trainer_class(str(base), REWARD, config_class(**settings), data())
    fill_with_waves(trainer.policy.mixture.parameters())  # with B = 0 every A would have a gradient of 0
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def outcome(trainer):
    """What is compared: adapters, the log without its clocks, and what the learner remembers (multipliers, group weights, normaliser, generators)."""
    from moalign.training.runs.sharded import gathered_adapters

    clock = ("runtime", "per_second", "time", "flos")
    log = [{k: v for k, v in line.items() if not any(c in k for c in clock)} for line in trainer.state.log_history]
    return gathered_adapters(trainer.policy), {"log": log, "state": trainer.steering_state()}


def shard_on_cpus():
    """FSDP2 for the trainings to come. accelerate takes it on accelerators only, though its own code runs on CPUs as well: tell it that this is one."""
    import accelerate.state as state
    from accelerate.utils import DistributedType

    os.environ.update(
        ACCELERATE_USE_FSDP="true",
        FSDP_VERSION="2",
        FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
        FSDP_RESHARD_AFTER_FORWARD="true",
        FSDP_STATE_DICT_TYPE="FULL_STATE_DICT",
        FSDP_CPU_RAM_EFFICIENT_LOADING="false",
    )
    plain = state.AcceleratorState.__init__

    def as_on_gpus(self, *args, **kwargs):
        shared = state.PartialState._shared_state
        state.PartialState(cpu=True)
        if shared["distributed_type"] == DistributedType.MULTI_CPU:
            shared["distributed_type"] = DistributedType.MULTI_GPU
        plain(self, *args, **kwargs)

    state.AcceleratorState.__init__ = as_on_gpus


def saved(base, folder, processes):
    """The job `direct_adam` with checkpoints and a bundle, and once more from the second step's checkpoint on."""
    steps = {"save_strategy": "steps", "save_steps": 1}
    trainer = train("direct_adam", base, folder, processes, **steps)
    trainer.save_model()
    again = train("direct_adam", base, folder / "resumed", processes, resume=str(folder / "checkpoint-2"), **steps)
    again.save_model()
    return trainer


def main(base, folder, *jobs):
    """Run jobs in this process and write what came out, by the process's number. `JOB:fsdp2` and all after it shard the weights."""
    from moalign.cli.launch import leave
    from moalign.training.runs.sharded import is_sharded

    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for job in jobs:
        name, _, how = job.partition(":")
        if how == "fsdp2" and "ACCELERATE_USE_FSDP" not in os.environ:
            shard_on_cpus()
        own = Path(folder) / job
        trainer = saved(base, own, processes) if name == "saved" else train(name, base, own, processes)
        adapters, facts = outcome(trainer)
        facts["sharded"] = is_sharded(trainer.policy.model.parameters())
        assert facts["sharded"] == (how == "fsdp2")
        save_file({name: tensor.contiguous() for name, tensor in adapters.items()}, own / f"process-{rank}.safetensors")
        (own / f"process-{rank}.json").write_text(json.dumps(facts))
    leave(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
