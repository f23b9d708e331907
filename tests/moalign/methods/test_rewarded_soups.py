"""Soups: K runs of one objective each, over one policy."""

import pytest
import torch

from frontier.errors import InputError
from moalign.methods.rewarded_soups import train_rewarded_soups


def soups(base, quick, folder, **changes):
    policy = train_rewarded_soups(
        str(base), quick.reward, quick.settings(folder, max_steps=4, **changes), quick.prompts
    )
    return {n: p.detach().clone() for n, p in policy.model.named_parameters() if ".lora_" in n}


def test_checkpointing_changes_nothing_in_any_of_the_runs(tiny_base, quick, tmp_path):
    """The second run must recompute under its own weights, not under those of the first."""
    plain = soups(tiny_base, quick, tmp_path / "plain", **quick.sgd)
    saved = soups(tiny_base, quick, tmp_path / "saved", gradient_checkpointing=True, **quick.sgd)
    for objective in quick.objectives:
        assert any(plain[n].any() for n in plain if f".{objective}." in n and "lora_B" in n)
    for name, value in plain.items():
        torch.testing.assert_close(saved[name], value, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_steps": 1}, "max_steps is shared by 2 runs: give at least 2, found 1"),
        ({"max_steps": -1}, "found -1"),
        ({"conditioning": "prompt"}, "conditioning must be adapter_mixture, found prompt"),
    ],
)
def test_refusals(tiny_base, quick, tmp_path, changes, message):
    settings = quick.settings(tmp_path, **{"max_steps": 4} | changes)
    with pytest.raises(InputError, match=message):
        train_rewarded_soups(str(tiny_base), quick.reward, settings, quick.prompts)
