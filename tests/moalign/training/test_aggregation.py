import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.methods.clp import CLPTrainer
from moalign.scalarize import MaxMin
from moalign.scalarize.backward_blocks import backward_blocks
from moalign.training.online import OnlineTrainer
from reward_heads import FunctionReward

pytest.importorskip("torchjd")


def end(quick, base, folder, reward=None, **options):
    """Where a run of the aggregating learner ends, and its log."""
    trainer = CLPTrainer(str(base), reward or quick.reward, quick.settings(folder, **options), quick.prompts)
    trainer.train()
    return quick.parameters(trainer), quick.metrics(folder)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preference": "helpful=0.2,brief=0.8", "beta": 0.0},
        {"kl_mixing": True, "beta": 0.2},
        {"gradient_checkpointing": True, "conditioned": "logits"},
        {"num_iterations": 2, "epsilon": 10.0},
    ],
    ids=str,
)
def test_the_sum_of_gradients_is_the_gradient_of_the_weighted_sum(quick, tiny_base, tmp_path, options):
    plain, _ = end(quick, tiny_base, tmp_path / "plain", **quick.sgd, **options)
    summed, log = end(quick, tiny_base, tmp_path / "sum", gradient_aggregation="Sum", **quick.sgd, **options)
    for name, value in plain.items():
        assert_close(summed[name], value, atol=1e-5, rtol=1e-4)
    assert log[0]["grad_norm/helpful"] > 0


def test_accumulated_chunks_of_sums_are_the_whole(quick, tiny_base, tmp_path):
    options = {"gradient_aggregation": "Sum", **quick.sgd}
    whole, _ = end(quick, tiny_base, tmp_path / "whole", **options)
    chunks = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    parts, _ = end(quick, tiny_base, tmp_path / "parts", **options, **chunks)
    for name, value in whole.items():
        assert_close(parts[name], value, atol=1e-5, rtol=1e-4)


def test_the_step_is_the_aggregate_of_each_objectives_gradient(quick, tiny_base, tmp_path):
    policy = quick.policy(tiny_base)
    config = quick.settings(tmp_path, gradient_aggregation="UPGrad", beta=0.1)
    trainer = OnlineTrainer(policy, quick.reward, config, quick.prompts)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([{"prompt": p} for p in ("a b", "c d e") for _ in range(4)])
    parameters = policy.mixture.parameters()
    rows = []
    for column in batch["objective_advantages"].T:
        alone = {k: v for k, v in batch.items() if k not in ("objective_advantages", "steering_weights")}
        trainer._loss_weights = batch["steering_weights"]
        with policy.steer_rows(batch["steering_weights"]):
            loss = trainer._compute_loss(trainer.model, alone | {"advantages": column})
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    trainer.compute_loss(trainer.model, batch).backward()
    got = torch.cat([p.grad.flatten() for p in parameters])
    expected = trainer.aggregation(torch.stack(rows))
    # In length: one backward pass of the weighted losses rounds otherwise than the weighted sum of gradients, where these cancel.
    assert float((got - expected).norm() / expected.norm()) < 1e-5
    assert_close(batch["objective_advantages"].sum(1), batch["advantages"], atol=1e-5, rtol=1e-5)
    # To first order no objective's loss rises, which a plain sum need not give.
    assert all(float(row @ got) >= -1e-5 * float(row.norm() * got.norm()) for row in rows)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_backward_passes_go_layer_by_layer_through_the_policy(
    quick, tiny_base, tmp_path, checkpointing, monkeypatch
):
    """And with gradient checkpointing, whose layers are computed again as a whole, between layers only."""
    from moalign.scalarize import gramian

    policy = quick.policy(tiny_base)
    config = quick.settings(tmp_path, gradient_aggregation="UPGrad", gradient_checkpointing=checkpointing)
    trainer = OnlineTrainer(policy, quick.reward, config, quick.prompts)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([{"prompt": p} for p in ("a b", "c d e") for _ in range(4)])
    names = {p: name for name, p in policy.model.named_parameters()}
    found = []

    def seen(losses, parameters, copies):
        blocks = backward_blocks(losses, parameters, copies)
        found.append([{names[parameters[i]].split(".layers.")[1][0] for i in block.parameters} for block in blocks])
        return blocks

    monkeypatch.setattr(gramian, "backward_blocks", seen)
    trainer.compute_loss(trainer.model, batch)
    (layers,) = found
    assert all(len(layer) == 1 for layer in layers)
    assert (len(layers) == 2) == checkpointing
    assert {*layers[0]} == {"1"}
    assert {*layers[-1]} == {"0"}


def test_conflicts_are_in_the_log(quick, tiny_base, tmp_path):
    _, log = end(quick, tiny_base, tmp_path, gradient_aggregation="upgrad", save_strategy="no")
    for line in log:
        assert -1 <= line["conflict/min_cosine"] <= 1
        assert line["conflict/rising"] == 0
        assert 0 <= line["conflict/rising_under_mean"] <= 1
        assert {"grad_norm/helpful", "grad_norm/brief"} <= set(line)


def test_it_is_described(quick, tiny_base, tmp_path):
    config = quick.settings(tmp_path, gradient_aggregation="upgrad")
    trainer = CLPTrainer(str(tiny_base), quick.reward, config, quick.prompts)
    assert trainer.describe()["gradient_aggregation"] == "UPGrad"


def test_a_missing_objective_is_left_out(quick, tiny_base, tmp_path):
    """With half the weight on each, what is left is half of the step for the known objective alone."""
    reward = FunctionReward({"helpful": quick.helpful, "brief": lambda p, c: None})
    common = quick.sgd | {"preference": "helpful=0.5,brief=0.5", "max_steps": 1}
    plain, _ = end(quick, tiny_base, tmp_path / "plain", reward, **common, beta=0.0)
    left, log = end(
        quick,
        tiny_base,
        tmp_path / "left",
        reward,
        gradient_aggregation="Sum",
        **common | {"learning_rate": 0.1},
        beta=0.0,
    )
    for name, value in plain.items():
        assert_close(left[name], value, atol=1e-5, rtol=1e-4)
    assert log[0]["missing/brief"] == 1
    assert log[0]["grad_norm/brief"] is None
    assert log[0]["grad_norm/helpful"] > 0
    for name in ("UPGrad", "MGDA", "PCGrad"):
        values, _ = end(quick, tiny_base, tmp_path / name, reward, gradient_aggregation=name, max_steps=1)
        assert all(value.isfinite().all() for value in values.values())


def test_nothing_known_trains_nothing(quick, tiny_base, tmp_path):
    reward = FunctionReward({"helpful": lambda p, c: None, "brief": lambda p, c: None})
    trainer = CLPTrainer(
        str(tiny_base), reward, quick.settings(tmp_path, gradient_aggregation="UPGrad", max_steps=1), quick.prompts
    )
    before = quick.parameters(trainer)
    trainer.train()
    assert all(torch.equal(value, before[name]) for name, value in quick.parameters(trainer).items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_aggregation": "UPGrd"}, "did you mean 'UPGrad'"),
        ({"gradient_aggregation": "NashMTL"}, "keeps state between steps"),
        ({"gradient_aggregation": "UPGrad", "normalize_advantages": True}, "normalize_advantages acts on one combined"),
        (
            {"gradient_aggregation": "UPGrad", "reward_clip_range": (-1.0, 1.0)},
            "reward_clip_range acts on one combined",
        ),
    ],
)
def test_what_does_not_combine_is_refused(quick, tiny_base, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        CLPTrainer(str(tiny_base), quick.reward, quick.settings(tmp_path, **options), quick.prompts)


def test_another_scalarizer_is_refused(quick, tiny_base, tmp_path):
    config = quick.settings(tmp_path, gradient_aggregation="UPGrad")
    with pytest.raises(InputError, match="no other scalarizer can: found MaxMin"):
        CLPTrainer(str(tiny_base), quick.reward, config, quick.prompts, scalarizer=MaxMin(quick.objectives))


def test_evaluation_needs_no_gradients(quick, tiny_base, tmp_path):
    config = quick.settings(tmp_path, gradient_aggregation="UPGrad", per_device_eval_batch_size=8)
    trainer = CLPTrainer(
        str(tiny_base), quick.reward, config, quick.prompts, eval_dataset=quick.prompts.select(range(4))
    )
    figures = trainer.evaluate()
    assert math.isfinite(figures["eval_loss"])
    assert figures["eval_missing/brief"] == 0
