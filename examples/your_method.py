"""Hold a method of your own against the best answer there is: a new scalarizer in a world whose optimum is known exactly.

python examples/your_method.py --updates 300
"""

import argparse
import tempfile

import torch
from datasets import Dataset

from moalign import OnlineConfig, OnlineTrainer
from moalign.oracle import OracleWorld


def no_regret(rewards, weights):
    """The weighted sum, but what falls below the reference counts twice."""
    return (weights * torch.where(rewards < 0, 2 * rewards, rewards)).sum(-1)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=300)
    updates = parser.parse_args(arguments).updates
    world, beta = OracleWorld.covered(), 0.3
    with tempfile.TemporaryDirectory() as folder:
        config = OnlineConfig(
            output_dir=f"{folder}/run",
            max_steps=updates,
            per_device_train_batch_size=256,
            num_generations=32,
            max_completion_length=world.config.length + 1,  # and the end token
            learning_rate=3e-3,
            beta=beta,
            normalize_rewards=False,  # the world's rewards are standardised already
            save_strategy="no",
            report_to=[],
        )
        prompts = Dataset.from_dict({"prompt": list(world.prompts) * 64})
        trainer = OnlineTrainer(world.save(f"{folder}/base"), world.reward, config, prompts, scalarizer=no_regret)
        trainer.train()
    for wish in ("helpful=1.0", "helpful=0.5,brief=0.5", "helpful=0.4,brief=0.3,warm=0.3"):
        # A scalarizer that judges each completion for itself is a reward like any other, so the best policy under it is known.
        judge = world.judged_by(no_regret(world.rewards, world.weights(wish)))
        reached = judge.gain(world.policy_distribution(trainer.policy, wish), [1.0], beta)
        print(f"{wish}: {reached:.3f} of the possible gain")


if __name__ == "__main__":
    main()
