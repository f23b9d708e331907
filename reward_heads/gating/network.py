r"""The network of a gate: the embedding of a prompt to weights of K objectives.

$$ g(x) = \mathrm{softmax}\big( \mathrm{MLP}(\tilde e(x)) / \tau \big), \qquad \tilde e = (e - \mu) / u $$

with ReLU and dropout, as in [ArmoRM](https://huggingface.co/papers/2406.12845); there the embeddings go in as they are, here centred (μ, per feature) and divided by one number (u), so that
encoders of any scale train alike. A positive scale $\alpha$ beside it turns $g(x)^\top r$ into nats.
"""

import math

import torch
from torch import Tensor, nn

from frontier.errors import InputError
from reward_heads.gating.config import GateConfig

# The starting point is this far from constant weights to uniform ones, so that no objective begins where the softmax is flat.
_SPREAD = 0.05


class GateNetwork(nn.Module):
    """Embeddings `[N, d]` to the logarithms of weights `[N, K]`.

    Args:
        width (`int`): d.
        outputs (`int`): K.
        config (`GateConfig`): `hidden`, `dropout`, `temperature` and `seed` are read; the global random state is left alone.
    """

    location: Tensor
    unit: Tensor

    def __init__(self, width: int, outputs: int, config: GateConfig) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            layers: list[nn.Module] = []
            for units in config.hidden:
                layers += [nn.Linear(width, units), nn.ReLU(), nn.Dropout(config.dropout)]
                width = units
            self.layers = nn.Sequential(*layers)
            self.output = nn.Linear(width, outputs)
        first = next((layer for layer in layers if isinstance(layer, nn.Linear)), self.output)
        self.register_buffer("location", torch.zeros(first.in_features))
        self.register_buffer("unit", torch.ones(()))
        self.log_scale = nn.Parameter(torch.zeros(()))

    @property
    def width(self) -> int:
        """d, the width of the embeddings that it reads."""
        return len(self.location)

    def forward(self, embeddings: Tensor) -> Tensor:
        """`[N, K]` log-weights; their exponentials sum to 1 in each row."""
        hidden = self.layers((embeddings - self.location) / self.unit)
        return torch.log_softmax(self.output(hidden) / self.config.temperature, dim=-1)

    def standardise(self, embeddings: Tensor) -> None:
        """Set μ and u to the mean and the root mean square about it of these embeddings `[N, d]`."""
        with torch.no_grad():
            self.location.copy_(embeddings.mean(dim=0))
            spread = (embeddings - self.location).square().mean().sqrt()
            self.unit.copy_(spread if spread > 0 else torch.ones(()))

    def start_from(self, weights: Tensor, scale: float) -> None:
        """Give (nearly) these weights `[K]` to every prompt and set α: training then starts from what no gate can tell."""
        near = (1 - _SPREAD) * weights + _SPREAD / len(weights)
        with torch.no_grad():
            self.output.weight.zero_()
            self.output.bias.copy_(self.config.temperature * near.log())
            self.log_scale.fill_(math.log(max(scale, 1e-3)))


def check_embeddings(embeddings: Tensor, width: int | None = None) -> Tensor:
    """Embeddings `[N, d]` as float32 on the CPU.

    Raises:
        InputError: another shape or width, or a number that is not finite.
    """
    if embeddings.dim() != 2 or (width is not None and embeddings.shape[1] != width):
        raise InputError(f"embeddings must be [N, {width or 'd'}], found {list(embeddings.shape)}")
    found = embeddings.detach().to("cpu", torch.float32)
    if not found.isfinite().all():
        raise InputError("embeddings must be finite")
    return found
