"""One transformer with a head per group, trained by few gradient steps per round of EM: one trunk learns from everybody, each head from its users."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reward_heads.losses import element_losses
from reward_heads.model import TransformerReward
from reward_heads.users.config import UserGroupsConfig
from reward_heads.users.em import Mixture, run_em
from reward_heads.users.observations import UserPairs
from reward_heads.users.trunk import merge_lora, set_trainable

WARMUP, LARGEST_GRADIENT = 0.05, 1.0


class TokenizedPairs:
    """N pairs as token ids; each distinct text is kept, and scored, once."""

    def __init__(self, firsts: Sequence[list[int]], seconds: Sequence[list[int]]) -> None:
        at: dict[tuple[int, ...], int] = {}
        both = [tuple(row) for rows in (firsts, seconds) for row in rows]
        index = torch.tensor([at.setdefault(row, len(at)) for row in both], dtype=torch.long)
        self.texts = [list(row) for row in at]
        self.first, self.second = index[: len(firsts)], index[len(firsts) :]

    def lengths(self) -> Tensor:
        """`[N]`: tokens of the longer text of each pair."""
        lengths = torch.tensor([len(text) for text in self.texts])
        return torch.maximum(lengths[self.first], lengths[self.second])

    def batch(self, rows: Tensor) -> list[list[int]]:
        """The first texts of the pairs at `rows`, then the second ones."""
        return [self.texts[i] for i in torch.cat([self.first[rows], self.second[rows]]).tolist()]

    def of_pairs(self, rows: Tensor) -> tuple[list[list[int]], Tensor, Tensor]:
        """The distinct texts of the pairs at `rows`, and where the first and the second of each pair are among them."""
        used, index = torch.cat([self.first[rows], self.second[rows]]).unique(return_inverse=True)
        return [self.texts[i] for i in used.tolist()], index[: len(rows)], index[len(rows) :]


class TransformerScorer:
    r"""The U heads of a [`TransformerReward`] over N pairs; a [`PairScorer`].

    `fit` takes `steps` / `rounds` steps of AdamW on the expected complete log-likelihood, $\sum_u \gamma_{hu}\, \ell_{iu}$ averaged over a batch of pairs, so
    that the trunk hears each user once, whatever the groups. Dropout is off: two different masks would add noise to every difference.

    Args:
        reward (`TransformerReward`): trained in place.
        texts (`TokenizedPairs`): its N pairs.
        labels (`Tensor`): `[N]`.
        training_rows (`int`): how many of the pairs are learned from.
        config (`UserGroupsConfig`): settings of training.
    """

    def __init__(
        self,
        reward: TransformerReward,
        texts: TokenizedPairs,
        labels: Tensor,
        training_rows: int,
        config: UserGroupsConfig,
    ) -> None:
        self.reward, self.texts, self.labels, self.config = reward, texts, labels, config
        self.steps = max(1, math.ceil(config.num_epochs * training_rows / config.batch_size))
        self.done = self.round = 0
        set_trainable(reward, config.trainable, config.lora_rank, config.seed)
        self.parameters = [weight for weight in reward.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=0.0)
        self.generator = torch.Generator().manual_seed(config.seed)
        self._batches: Iterator[Tensor] = iter(())

    def differences(self, rows: Tensor) -> Tensor:
        """See [`PairScorer.differences`]."""
        texts, first, second = self.texts.of_pairs(rows)
        outputs = self.reward.outputs(texts).double()
        return outputs[first] - outputs[second]

    def penalty(self) -> float:
        """None: few steps are what keeps it from memorising."""
        return 0.0

    def fit(self, rows: Tensor, weights: Tensor) -> None:
        """See [`PairScorer.fit`]; one round's steps."""
        self.round += 1
        until = math.ceil(self.steps * min(self.round / self.config.rounds, 1.0))
        self.reward.model.eval()
        while self.done < until:
            batch = next(self._batches, None)
            if batch is None:
                self._batches = self._epoch(rows)
                continue
            self._step(rows[batch], weights[batch])

    def finish(self) -> None:
        """Merge a LoRA and free what only training needs."""
        if self.config.trainable == "lora":
            merge_lora(self.reward.model)
        self.reward.model.requires_grad_(True)
        self.parameters, self._batches = [], iter(())
        del self.optimizer

    def _step(self, rows: Tensor, weights: Tensor) -> None:
        for group in self.optimizer.param_groups:
            warm = (self.done + 1) / max(1.0, WARMUP * self.steps)
            group["lr"] = self.config.learning_rate * min(warm, 1 - self.done / self.steps)
        device = self.reward.model.device
        ids, mask = (tensor.to(device) for tensor in self.reward.pad(self.texts.batch(rows)))
        outputs = self.reward.model(input_ids=ids, attention_mask=mask).logits.float()
        differences = outputs[: len(rows)] - outputs[len(rows) :]
        targets = self.labels[rows].float().to(device)[:, None].expand_as(differences)
        each = element_losses(differences, targets, torch.ones(len(rows), dtype=torch.bool, device=device))
        loss = (weights.float().to(device) * each).sum() / len(rows)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, LARGEST_GRADIENT)
        self.optimizer.step()
        self.done += 1

    def _epoch(self, rows: Tensor) -> Iterator[Tensor]:
        """Batches of positions in `rows`, shuffled; among neighbours those of like length share a batch."""
        size = self.config.batch_size
        lengths = self.texts.lengths()[rows]
        for part in torch.randperm(len(rows), generator=self.generator).split(16 * size):
            alike = part[lengths[part].argsort(stable=True)].split(size)
            for index in torch.randperm(len(alike), generator=self.generator).tolist():
                yield alike[index]


def fit_transformer(
    reward: TransformerReward,
    texts: TokenizedPairs,
    pairs: UserPairs,
    rows: Tensor,
    start: Tensor,
    config: UserGroupsConfig,
) -> tuple[TransformerScorer, Mixture]:
    """EM with a transformer, from responsibilities `[users, U]` that are good already (a random start gets stuck)."""
    scorer = TransformerScorer(reward, texts, pairs.labels, len(rows), config)
    mixture = run_em(scorer, pairs, rows, start, assignment=config.assignment, rounds=config.rounds, tolerance=None)
    scorer.finish()
    return scorer, mixture
