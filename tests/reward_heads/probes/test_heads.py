import numpy as np
import pytest
import torch

from frontier.errors import InputError
from reward_heads.probes import Head, LinearHeads
from reward_heads.probes.spectrum import Spectrum


def make_heads(spectrum=True):
    # H = diag(3, 0): the second direction has no data.
    found = Spectrum(np.array([[1.0], [0.0]], dtype=np.float32), np.array([3.0])) if spectrum else None
    head = Head(np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.array([5.0, -1.0]), 0.5, 0.25, 1.0, 2.0, found)
    return LinearHeads(("good",), (head,))


def test_hand_computed():
    scores, std = make_heads().with_uncertainty(torch.tensor([[1.0, 2.0], [3.0, 10.0]]))
    # z = (1, 2): score 0.5 + 5 - 2; variance 0.25 + 2 · (1 / (3 + 1) + 4 / (0 + 1)).
    assert scores.tolist() == [[0.5], [3.5]]
    assert std.squeeze(1).square().tolist() == pytest.approx([0.25, 8.75])
    assert scores.dtype == std.dtype == torch.float32


@pytest.mark.parametrize("spectrum", [True, False])
def test_round_trip(spectrum):
    heads, features = make_heads(spectrum), torch.randn(5, 2)
    again = LinearHeads.from_tensors(["good"], heads.to_tensors())
    assert again(features).equal(heads(features))
    if spectrum:
        assert again.with_uncertainty(features)[1].equal(heads.with_uncertainty(features)[1])


def test_refuses():
    with pytest.raises(InputError, match=r"features must be \[N, 2\], found \[4, 3\]"):
        make_heads()(torch.zeros(4, 3))
    with pytest.raises(InputError, match="uncertainty=False"):
        make_heads(spectrum=False).with_uncertainty(torch.zeros(1, 2))
    tensors = make_heads().to_tensors()
    with pytest.raises(InputError, match="the tensor centre must have 2 rows, found"):
        LinearHeads.from_tensors(["good", "bad"], tensors)
    with pytest.raises(InputError, match="the tensor level must have 1 rows, found None"):
        LinearHeads.from_tensors(["good"], {name: t for name, t in tensors.items() if name != "level"})
    tensors["weights"][0, 0] = torch.nan
    with pytest.raises(InputError, match="the tensor weights is not finite"):
        LinearHeads.from_tensors(["good"], tensors)
