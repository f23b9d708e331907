"""Steered layers under torch.compile: one graph, new weights without a new compilation, the same numbers."""

import contextlib
import shutil
import threading

import pytest
import torch
from torch._dynamo.testing import CompileCounter

IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12], [1, 13, 14, 15, 16]])
PLAIN = {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj", "embed_tokens"]}
OTHER = {"r": 2, "lora_alpha": 3, "use_dora": True, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
ROWS = [torch.tensor([[0.7, 0.3], [-0.5, 1.5], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, -1.0]])]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def mixture(kinds, qwen2):
    return kinds(qwen2, PLAIN, OTHER).mixture()


@pytest.mark.parametrize("frozen", [False, True])
def test_steered_layers_are_one_graph_for_all_weights(mixture, frozen):
    counter = CompileCounter()
    with torch.no_grad(), mixture.frozen() if frozen else contextlib.nullcontext():
        compiled = torch.compile(mixture.model.get_base_model(), backend=counter, fullgraph=True)
        for weights in ROWS:
            with mixture.steer(weights):
                got, expected = compiled(IDS, use_cache=False).logits, mixture.model(IDS).logits
            assert torch.allclose(got, expected, atol=1e-5)
    assert counter.frame_count == 1


def test_compiled_threads_do_not_see_each_other(mixture):
    compiled = torch.compile(mixture.model.get_base_model(), backend="eager", fullgraph=True)
    found = {}

    def work(i):
        with torch.no_grad(), mixture.steer(ROWS[i]):
            barrier.wait(timeout=60)
            found[i] = compiled(IDS, use_cache=False).logits

    with torch.no_grad(), mixture.steer(ROWS[0]):
        compiled(IDS, use_cache=False)
    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        with torch.no_grad(), mixture.steer(ROWS[i]):
            assert torch.allclose(found[i], mixture.model(IDS).logits, atol=1e-5)


def test_gradients_through_compiled_layers(mixture):
    mixture.train_adapters()
    compiled = torch.compile(mixture.model.get_base_model(), backend="aot_eager", fullgraph=True)
    gradients = []
    for model in (mixture.model, compiled):
        with mixture.steer(ROWS[0]):
            logits = model(input_ids=IDS, use_cache=False).logits
        gradients.append(torch.autograd.grad(logits.log_softmax(-1)[..., 3].sum(), mixture.parameters()))
    for eager, got in zip(*gradients, strict=True):
        assert (got - eager).norm() <= 1e-4 * eager.norm() + 1e-6


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
def test_generated_code_computes_the_same(mixture):
    compiled = torch.compile(mixture.model.get_base_model(), fullgraph=True)
    with torch.no_grad(), mixture.frozen():
        for weights in ROWS:
            with mixture.steer(weights):
                got, expected = compiled(IDS, use_cache=False).logits, mixture.model(IDS).logits
            assert (got - expected).norm() / expected.norm() <= 1e-5
