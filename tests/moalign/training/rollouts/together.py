"""What the tests of overlapped rewards share: a reward that tells what it was called with, and whether its threads have ended."""

import threading

import torch

from moalign.training.rollouts.overlap import THREAD

# Seconds after which a test that waits has failed.
LIMIT = 120


class Broken(Exception):
    """What a test raises."""


class Together:
    """A reward that a completion shares with those it is scored with, as padding shares last bits; it remembers how it was called."""

    objectives = ("helpful", "brief")

    def __init__(self):
        self.calls, self.threads = [], []

    def score(self, prompts, completions):
        self.calls.append(list(zip(prompts, completions, strict=True)))
        self.threads.append(threading.current_thread().name)
        lengths = torch.tensor([float(len(completion)) for completion in completions])
        return torch.stack([lengths / lengths.max().clamp(min=1), -lengths + 0.1 * len(completions)], 1)


def left_alive():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def nothing_left():
    for thread in left_alive():
        thread.join(LIMIT)
    return not left_alive()


def read(ids):
    """Token ids as text."""
    return ["".join(chr(ord("a") + token) for token in row) for row in ids]
