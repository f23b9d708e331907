"""Train a gate: AdamW with a cosine, stopped where prompts that it doesn't learn from say so."""

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.gating.config import GateConfig
from reward_heads.gating.network import GateNetwork

# Held-out rows in one forward pass.
_ROWS = 4096

# Log-weights [B, K], the scale, and which rows they are of, to the loss of each row [B].
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
# Log-weights [n, K] on the CPU of rows that don't teach, and which they are, to one number.
HeldOutLoss = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Split:
    """Which rows teach, which choose the update, and which judge: three tensors of row numbers."""

    train: Tensor
    stopping: Tensor
    judging: Tensor


def split_rows(groups: Sequence[Hashable], config: GateConfig) -> Split:
    """Split rows so that those of one group (prompt) stay together.

    Raises:
        InputError: there are no rows, or too few different prompts to hold some out.
    """
    place: dict[Hashable, int] = {}
    at = np.array([place.setdefault(group, len(place)) for group in groups], dtype=int)
    if not len(at):
        raise InputError("rows: none has both a label and known rewards, so there is nothing to learn from")
    held = round(config.held_out * len(place) / 2)
    if config.held_out and (held < 1 or len(place) - 2 * held < 1):
        raise InputError(
            f"{len(place)} different prompts are too few to hold out {config.held_out:g} of them: give more, or held_out=0 to learn from all and judge nothing"
        )
    order = np.random.default_rng(config.seed).permutation(len(place))
    judging, stopping = np.isin(at, order[:held]), np.isin(at, order[held : 2 * held])
    parts = (torch.from_numpy(np.flatnonzero(mask)) for mask in (~(judging | stopping), stopping, judging))
    return Split(*parts)


def train(
    network: GateNetwork, embeddings: Tensor, loss: Loss, held_out_loss: HeldOutLoss, split: Split, config: GateConfig
) -> int:
    """Train the network in place; it ends in evaluation mode on the CPU.

    Args:
        network (`GateNetwork`): set to its starting point.
        embeddings (`Tensor`): `[N, d]`, of all rows.
        loss (`Loss`): what is minimised on average.
        held_out_loss (`HeldOutLoss`): by which the update is chosen.
        split (`Split`): of the N rows.
        config (`GateConfig`): settings.

    Returns:
        `int`: the update whose weights were kept (0 = the starting point; the last one without held-out rows).
    """
    generator = torch.Generator().manual_seed(config.seed)
    network.to(config.device)
    data = embeddings.to(config.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    best, best_loss = (0, copy.deepcopy(network.state_dict())), _held_out(network, data, held_out_loss, split.stopping)
    order, position, waited = torch.empty(0, dtype=torch.long), 0, 0
    with torch.random.fork_rng():  # dropout draws from the global state
        torch.manual_seed(config.seed)
        for update in range(1, config.steps + 1):
            if position >= len(order):
                order, position = split.train[torch.randperm(len(split.train), generator=generator)], 0
            rows, position = order[position : position + config.batch_size], position + config.batch_size
            network.train()
            optimizer.zero_grad()
            loss(network(data[rows.to(config.device)]), network.log_scale.exp(), rows).mean().backward()
            optimizer.step()
            schedule.step()
            if not len(split.stopping) or (update % config.check_every and update < config.steps):
                continue
            found = _held_out(network, data, held_out_loss, split.stopping)
            if found < best_loss:
                best, best_loss, waited = (update, copy.deepcopy(network.state_dict())), found, 0
            else:
                waited += 1
            if waited >= config.patience:
                break
    if len(split.stopping):
        network.load_state_dict(best[1])
    network.to("cpu").eval().requires_grad_(False)
    return best[0] if len(split.stopping) else config.steps


def _held_out(network: GateNetwork, data: Tensor, loss: HeldOutLoss, rows: Tensor) -> float:
    if not len(rows):
        return torch.inf
    network.eval()
    with torch.no_grad():
        log_weights = [network(data[part.to(data.device)]).cpu() for part in rows.split(_ROWS)]
    return loss(torch.cat(log_weights), rows)
