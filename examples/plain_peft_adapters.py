"""Steer between LoRA adapters that plain PEFT trained elsewhere, without converting anything.

python examples/plain_peft_adapters.py BASE helpful=path/to/adapter brief=path/to/other --out runs/mixed
"""

import argparse

from moalign import Preference, SteerablePolicy, lattice


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Mix plain PEFT adapters at several preferences.")
    parser.add_argument("base", help="the model that the adapters were trained on")
    parser.add_argument("adapters", nargs="+", metavar="OBJECTIVE=FOLDER")
    parser.add_argument("--prompt", default="Tell me about the weather .")
    parser.add_argument("--out", help="write a bundle, for moalign front and moalign serve")
    options = parser.parse_args(arguments)
    adapters = dict(pair.split("=", 1) for pair in options.adapters)

    policy = SteerablePolicy.from_pretrained(options.base, adapters=adapters)

    # The corners, the middle, and what lies between: each row of the batch has its own preference.
    preferences = [*lattice(policy.objectives, 2), Preference.uniform(policy.objectives)]
    answers = policy.generate([options.prompt] * len(preferences), preferences, max_new_tokens=40, do_sample=False)
    for preference, answer in zip(preferences, answers, strict=True):
        print(f"[{preference}] {answer}")

    # log π_w(y | x) at the same preferences, None being the reference policy.
    scores = policy.log_probs([options.prompt] * 2, [answers[0]] * 2, [preferences[0], None])
    print(
        f"log-probability of the first answer: {scores[0]:.2f} at {preferences[0]}, {scores[1]:.2f} under the base model"
    )

    if options.out:
        policy.save_pretrained(options.out)
    return answers


if __name__ == "__main__":
    main()
