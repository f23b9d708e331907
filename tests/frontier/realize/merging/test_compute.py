import threading
from dataclasses import dataclass

import pytest
import torch

from frontier.errors import InputError
from frontier.realize.merging import compute
from frontier.realize.merging.checkpoint import InMemory
from frontier.realize.merging.compute import make_jobs, merge_piece, run_jobs
from frontier.realize.merging.methods.base import MergeMethod, Parameters, weighted_sum
from frontier.realize.merging.plan import Input, TensorPlan
from frontier.realize.merging.tensor_files import Layout

CPU = torch.device("cpu")


class Mean(MergeMethod):
    """The mean."""

    name = "mean"
    elementwise = True

    @dataclass(frozen=True)
    class Parameters(Parameters):
        """None."""

    def _merge(self, tensors, base, parameters, generator):
        return weighted_sum(tensors, [1 / len(tensors)] * len(tensors))


class Noise(Mean):
    """Adds noise."""

    name = "noise"
    random = True

    def _merge(self, tensors, base, parameters, generator):
        return tensors[0] + torch.rand(tensors[0].shape, generator=generator)


class Centred(Mean):
    """Needs the whole tensor, in its shape."""

    name = "centred"
    elementwise = False

    def _merge(self, tensors, base, parameters, generator):
        assert tensors[0].dim() == 2
        return tensors[0] - tensors[0].mean()


def planned(*tensors, dtype=torch.float32, name="x", copied=False):
    sources = [InMemory({name: t}, f"model {i}") for i, t in enumerate(tensors)]
    layout = Layout(tuple(tensors[0].shape), tensors[0].dtype if copied else dtype)
    return TensorPlan(name, layout, tuple(Input(s, name) for s in sources), None, None if copied else Mean.Parameters())


def run(tensors, method, workers=1, seed=0):
    made = {t.name: torch.full((t.layout.numel,), -7, dtype=t.layout.dtype) for t in tensors}
    finished = []

    def write(name, start, piece):
        made[name][start : start + piece.numel()] = piece

    jobs = make_jobs(tensors, method, CPU)
    run_jobs(jobs, method, write, device=CPU, workers=workers, seed=seed, advance=finished.append)
    assert sum(finished) == sum(t.layout.numel for t in tensors)
    return {t.name: made[t.name].view(t.layout.shape) for t in tensors}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(compute, "CPU_PIECE", 7)
    monkeypatch.setattr(compute, "SEGMENT", 21)


@pytest.mark.parametrize("workers", [1, 3])
def test_pieces_make_the_whole(small, workers):
    pairs = {f"t{i}": (torch.randn(5, i), torch.randn(5, i)) for i in (0, 1, 13)} | {
        "s": (torch.tensor(1.0), torch.tensor(4.0))
    }
    made = run([planned(*pair, name=name) for name, pair in pairs.items()], Mean(), workers)
    for name, (a, b) in pairs.items():
        torch.testing.assert_close(made[name], (a + b) / 2)


def test_random_pieces_do_not_depend_on_the_workers(small):
    tensors = [planned(torch.zeros(50), name=name) for name in "abc"]
    one, many = run(tensors, Noise(), 1), run(tensors, Noise(), 4)
    assert all(torch.equal(one[name], many[name]) for name in "abc")
    assert not torch.equal(one["a"], one["b"])  # every tensor draws its own
    assert len(one["a"].unique()) == 50  # and every piece
    assert not torch.equal(run(tensors, Noise(), 1, seed=1)["a"], one["a"])


def test_methods_that_need_it_get_the_whole_tensor(small):
    given = torch.randn(6, 9)
    torch.testing.assert_close(run([planned(given)], Centred())["x"], given - given.mean())


def test_jobs_are_cut_only_where_that_is_right(small):
    tensor = planned(torch.zeros(50))
    assert [(j.start, j.stop, j.step) for j in make_jobs([tensor], Mean(), CPU)] == [
        (0, 21, 7),
        (21, 42, 7),
        (42, 50, 7),
    ]
    assert [(j.start, j.stop, j.step) for j in make_jobs([tensor], Centred(), CPU)] == [(0, 50, 50)]
    tensor.inputs[0].source.in_pieces = lambda name: False
    assert [(j.start, j.stop, j.step) for j in make_jobs([tensor], Mean(), CPU)] == [(0, 50, 7)]


def test_sums_are_in_float32_and_rounded_once():
    ones, tiny = torch.ones(3, dtype=torch.bfloat16), torch.full((3,), 2**-9, dtype=torch.bfloat16)
    # In bf16 1 + 2^-9 is 1 and would stay 1 however often it is added.
    made = run([planned(ones, *[tiny] * 8, dtype=torch.float32)], Mean())["x"]
    torch.testing.assert_close(made, torch.full((3,), (1 + 8 * 2**-9) / 9))
    assert run([planned(ones, tiny, dtype=torch.bfloat16)], Mean())["x"].dtype == torch.bfloat16


@pytest.mark.parametrize(("value", "what"), [(torch.nan, "NaN"), (torch.inf, "infinite"), (-torch.inf, "infinite")])
def test_refuses_what_is_not_finite(small, value, what):
    spoiled = torch.zeros(40)
    spoiled[33] = value
    with pytest.raises(InputError, match=f"tensor 'x' in model 1 has {what} values"):
        run([planned(torch.zeros(40), spoiled)], Mean())


def test_large_finite_values_pass():
    large = torch.full((4,), 3e38)
    assert torch.equal(run([planned(large, large)], Mean())["x"], large)
    half = torch.full((4,), 6e4, dtype=torch.float16)
    assert torch.equal(run([planned(half, dtype=torch.float16)], Mean())["x"], half)


def test_refuses_a_result_that_its_dtype_cannot_hold():
    with pytest.raises(InputError, match=r"not finite in float16 \(largest magnitude 1e\+05\)"):
        run([planned(torch.full((3,), 1e5), dtype=torch.float16)], Mean())


def test_whole_numbers_are_copied_if_all_agree():
    numbers = torch.tensor([[1, 2], [3, 4]])
    assert torch.equal(run([planned(numbers, numbers.clone(), copied=True)], Centred())["x"], numbers)
    with pytest.raises(
        InputError, match="'x' is int64, which cannot be merged, and differs between model 0 and model 1"
    ):
        run([planned(numbers, numbers + 1, copied=True)], Mean())


def test_the_first_error_stops_all(small):
    spoiled = [planned(torch.full((10,), torch.nan), name=f"t{i}") for i in range(200)]
    tried = []

    class Counting(Mean):
        def _merge(self, tensors, base, parameters, generator):
            tried.append(1)
            return super()._merge(tensors, base, parameters, generator)

    good = [planned(torch.zeros(10), name=f"g{i}") for i in range(10_000)]
    before = threading.active_count()
    with pytest.raises(InputError, match="NaN"):
        run([*spoiled, *good], Counting(), workers=3)
    assert len(tried) < 10_000
    assert threading.active_count() == before


def test_a_methods_refusal_names_the_tensor():
    class Refusing(Mean):
        def _merge(self, tensors, base, parameters, generator):
            raise InputError("not this one")

    with pytest.raises(InputError, match="tensor 'x': not this one"):
        merge_piece(planned(torch.zeros(3)), Refusing(), 0, 3, CPU, 0)


def test_no_more_is_held_than_the_budget(monkeypatch):
    monkeypatch.setattr(compute, "BUDGET", 1000)
    held, most = [], []
    lock, full = threading.Lock(), threading.Event()

    class Watching(Centred):
        def _merge(self, tensors, base, parameters, generator):
            with lock:
                held.append(tensors[0].numel() * 8)
                most.append(sum(held))
                if sum(held) >= 800:
                    full.set()
            assert full.wait(60)  # for a second one; and a little, for a third that must not come
            threading.Event().wait(0.01)
            with lock:
                held.remove(tensors[0].numel() * 8)
            return super()._merge(tensors, base, parameters, generator)

    run([planned(torch.zeros(5, 10), name=f"t{i}") for i in range(12)], Watching(), workers=6)
    assert max(most) == 800  # two of 400 bytes each fit, three do not
    run([planned(torch.zeros(50, 10), name=f"t{i}") for i in range(3)], Watching(), workers=6)
    assert max(most) == 4000  # one that is larger than the budget goes alone


def test_torchs_own_threads_are_given_back():
    before = torch.get_num_threads()
    run([planned(torch.zeros(5))], Mean(), workers=2)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same():
    a, b = torch.randn(300, 7), torch.randn(300, 7)
    tensor = planned(a, b)
    gpu = merge_piece(tensor, Mean(), 0, 2100, torch.device("cuda"), 0)
    torch.testing.assert_close(gpu, merge_piece(tensor, Mean(), 0, 2100, CPU, 0))
