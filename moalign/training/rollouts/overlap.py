"""Score completions while others are still generated: fixed chunks of rows, one after the other in a second thread."""

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads import Text, VectorReward
from reward_heads.vector_reward import score_checked

logger = logging.getLogger(__name__)
THREAD = "moalign-rewards"
Score = Callable[[Sequence[Text], Sequence[Text]], Tensor]
Decode = Callable[[Sequence[Sequence[int]]], Sequence[Text]]


class OverlappedReward:
    """A vector reward that may be told completions as they end, and has scored most of them when it is asked for the whole batch.

    Rows are cut into chunks of `size` in their order, whichever end first: what a chunk holds, and so the last bits of a reward model that pads it, depends on the batch alone.
    A chunk is scored as soon as all its rows have ended, in a thread that ends with the batch. The reward is never called twice at once.

    Args:
        reward (`VectorReward`): that is scored by.
        size (`int`): completions of a chunk.

    Raises:
        InputError: `size` is not positive.
    """

    def __init__(self, reward: VectorReward, size: int) -> None:
        if size < 1:
            raise InputError(f"size must be at least 1, found {size}")
        self.reward = reward
        self.objectives = tuple(reward.objectives)
        self.size = size
        self._one_at_a_time = threading.Lock()
        self._begun: _Chunks | None = None
        self._warned = False

    @contextmanager
    def rollout(self, prompts: Sequence[Text], decode: Decode) -> Iterator[Callable[[int, list[int]], None]]:
        """Around a rollout: gives what is to be called with the row and the tokens of each completion that has ended; a rollout that fails leaves nothing behind.

        Args:
            prompts (`Sequence[Text]`): B prompts as the reward is to see them.
            decode (`Callable`): token ids of some completions to their texts, as `score` will be handed them. Called in this thread: tokenizers need not bear two.
        """
        self.close()
        self._begun = begun = _Chunks(self._score, prompts, self.size, decode)
        try:
            yield begun.ended
            begun.check_whole()
        except BaseException:
            self.close()
            raise

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`]. Waits for the chunks of the rollout, if there was one and it is of these texts.

        Raises:
            Exception: what the reward raised, in whichever thread.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            if begun.are(prompts, completions):
                return begun.collect()
            begun.cancel()
            if not self._warned:
                logger.warning("completions were changed after the rollout: what was scored meanwhile is scored again")
            self._warned = True
        return self._score(prompts, completions)

    def close(self) -> None:
        """Let go of a rollout that nobody asked for; its thread ends after the chunk that it is at."""
        if self._begun is not None:
            self._begun.cancel()
        self._begun = None

    def _score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        with self._one_at_a_time:
            return score_checked(self.reward, prompts, completions)


class _Chunks:
    """One rollout's rows and the thread that scores them."""

    def __init__(self, score: Score, prompts: Sequence[Text], size: int, decode: Decode) -> None:
        rows = range(len(prompts))
        self._prompts = list(prompts)
        self._ids: list[list[int]] = [[] for _ in rows]
        self._texts: dict[int, list[Text]] = {}
        self._parts = [slice(start, min(start + size, len(prompts))) for start in rows[::size]]
        self._missing = [len(rows[part]) for part in self._parts]
        self._size, self._score, self._decode = size, score, decode
        self._ready: SimpleQueue[int | None] = SimpleQueue()
        self._scores: dict[int, Tensor] = {}
        self._error: BaseException | None = None
        self._cancelled = False
        # A context and settings of its own is what a thread begins with; a reward is to compute as it would in this one. A daemon: an answer that
        # never comes must not keep the process from ending.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._work, torch_settings()), name=THREAD, daemon=True)
        self._thread.start()

    def ended(self, row: int, ids: list[int]) -> None:
        """Take a completion that is over. Raises what the reward has raised meanwhile."""
        self._raise()
        chunk = row // self._size
        self._ids[row] = ids
        self._missing[chunk] -= 1
        if not self._missing[chunk]:
            self._texts[chunk] = list(self._decode(self._ids[self._parts[chunk]]))
            self._ready.put(chunk)

    def check_whole(self) -> None:
        """A rollout that did not tell of every row would be waited for without end."""
        if any(self._missing):
            raise RuntimeError(f"the rollout is over, but {sum(self._missing)} of its rows have not ended")

    def are(self, prompts: Sequence[Text], completions: Sequence[Text]) -> bool:
        """Whether these texts are what is scored here."""
        texts = [text for chunk in range(len(self._parts)) for text in self._texts[chunk]]
        return texts == list(completions) and self._prompts == list(prompts)

    def collect(self) -> Tensor:
        """`[B, K]`, once the last chunk is scored."""
        self._thread.join()
        self._raise()
        return torch.cat([self._scores[chunk] for chunk in range(len(self._parts))])

    def cancel(self) -> None:
        """Score no further chunk."""
        self._cancelled = True
        self._ready.put(None)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self, settings: Callable[[], AbstractContextManager[Any]]) -> None:
        try:
            with settings():
                for _ in self._parts:
                    chunk = self._ready.get()
                    if chunk is None or self._cancelled:
                        return
                    self._scores[chunk] = self._score(self._prompts[self._parts[chunk]], self._texts[chunk])
        except BaseException as error:  # whatever it is, it belongs to the thread that waits for the scores
            self._error = error


def torch_settings() -> Callable[[], AbstractContextManager[Any]]:
    """What torch keeps for each thread and a computation depends on, as it is here now: a context that another thread computes alike in.

    These are the modes of gradients and inference, autocast, the default device, and CUDA's device and stream (a new thread would be at GPU 0).
    """
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    stream = torch.cuda.current_stream() if cuda else None
    device = torch.get_default_device()
    types = [kind for kind in ("cpu", *(["cuda"] if cuda else [])) if torch.is_autocast_enabled(kind)]
    casts = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_cache_enabled()) for kind in types]

    @contextmanager
    def same() -> Iterator[None]:
        with ExitStack() as stack:
            # Entering inference mode or leaving it sets the gradients' mode too.
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(grad))
            if stream is not None:
                stack.enter_context(torch.cuda.stream(stream))
            if device.type != "cpu":
                stack.enter_context(device)
            for kind, dtype, cached in casts:
                stack.enter_context(torch.autocast(kind, dtype, cache_enabled=cached))
            yield

    return same
