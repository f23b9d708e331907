import doctest
import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import frontier.prompt_rewards
from frontier import InputError
from frontier.prompt_rewards import PromptRewards, prompt_ids, prompt_means, prompt_standard_errors

NAMES = ("helpful", "brief")
NAN = math.nan
FLOATS = st.floats(allow_infinity=False)


@pytest.fixture
def samples():
    """Two points on three prompts; the first point's brief is known once."""
    rewards = [[[1, 4], [3, NAN], [8, NAN]], [[0, 1], [0, 2], [0, 3]]]
    return PromptRewards(NAMES, rewards, ("x", "y", "z"), [[1, 1], [2, NAN], [3, 1]])


def test_examples_run():
    assert doctest.testmod(frontier.prompt_rewards).attempted > 0
    assert doctest.testmod(frontier.prompt_rewards).failed == 0


def test_means_and_standard_errors_by_hand(samples):
    assert samples.means().tolist() == [[4, 4], [0, 2]]
    # helpful of the first: deviations -3, -1, 4, so variance 26/2 and error sqrt(13/3). One known prompt has no error.
    got = samples.standard_errors()
    assert got[0, 0] == pytest.approx(math.sqrt(13 / 3))
    assert math.isnan(got[0, 1])
    assert got[1].tolist() == pytest.approx([0, math.sqrt(1 / 3)])
    assert prompt_means(samples.reference).tolist() == [2, 1]


@pytest.mark.filterwarnings("error")
def test_nothing_known_is_nan_without_a_warning():
    empty = PromptRewards(NAMES, np.full((1, 2, 2), NAN), ("x", "y"))
    assert np.isnan(empty.means()).all()
    assert np.isnan(empty.standard_errors()).all()


@given(arrays.arrays(float, (3, 5, 2), elements=st.floats(-1e6, 1e6)))
def test_agrees_with_numpy(rewards):
    np.testing.assert_allclose(prompt_means(rewards), rewards.mean(axis=1), rtol=1e-9, atol=1e-6)
    expected = rewards.std(axis=1, ddof=1) / math.sqrt(5)
    np.testing.assert_allclose(prompt_standard_errors(rewards), expected, rtol=1e-6, atol=1e-6)


def test_is_a_copy_that_nobody_can_write_to(samples):
    given_ = np.zeros((1, 2, 2))
    held = PromptRewards(NAMES, given_, ("x", "y"))
    given_[:] = 1
    assert (held.rewards == 0).all()
    with pytest.raises(ValueError, match="read-only"):
        samples.rewards[0, 0, 0] = 5


def test_equality_counts_unknown_as_equal(samples):
    assert samples == PromptRewards(NAMES, samples.rewards, ["x", "y", "z"], samples.reference)
    assert samples != PromptRewards(NAMES, samples.rewards, ("x", "z", "y"), samples.reference)
    assert samples != PromptRewards(NAMES, samples.rewards, samples.prompts)
    assert samples != PromptRewards(NAMES, samples.rewards + 1, samples.prompts, samples.reference)
    assert samples != "samples"


def test_take_select_align(samples):
    assert samples.take([1]).rewards.tolist() == [samples.rewards[1].tolist()]
    swapped = samples.select(NAMES[::-1])
    assert swapped.objectives == ("brief", "helpful")
    assert swapped.rewards[1].tolist() == [[1, 0], [2, 0], [3, 0]]
    assert swapped.reference[0].tolist() == [1, 1]
    assert swapped.select(NAMES) == samples
    turned = samples.align(("z", "x"))
    assert turned.prompts == ("z", "x")
    assert turned.rewards[:, :, 0].tolist() == [[8, 1], [0, 0]]
    assert turned.reference[:, 0].tolist() == [3, 1]
    with pytest.raises(InputError, match="did you mean 'brief'"):
        samples.select(["breif"])
    with pytest.raises(InputError, match="1 of 2 prompts are not among the 3: 'w'"):
        samples.align(["x", "w"])


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([False, True]), r"points are taken by their index, found .*True|found .*False"),
        ([0.5], r"taken by their index, found 0\.5"),
        ([7], r"there is no point 7: the points are 0\.\.1"),
        ([-1], "there is no point -1"),
        ([], "at least one point"),
    ],
)
def test_take_refuses(samples, indices, message):
    with pytest.raises(InputError, match=message):
        samples.take(indices)


# ---- files


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 3), st.just(4), st.just(2)), elements=FLOATS),
    st.none() | arrays.arrays(np.float64, (4, 2), elements=FLOATS),
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=4, max_size=4, unique=True),
)
def test_bytes_come_back_bit_for_bit(rewards, reference, prompts):
    held = PromptRewards(NAMES, rewards, tuple(prompts), reference)
    back = PromptRewards.from_bytes(held.to_bytes())
    assert back == held
    assert back.rewards.tobytes() == np.ascontiguousarray(rewards).tobytes()  # NaN payloads and -0 too
    assert (back.reference is None) == (reference is None)


def test_equal_rewards_are_equal_bytes(samples):
    digests = {hashlib.sha256(samples.select(NAMES).to_bytes()).hexdigest() for _ in range(20)}
    assert len(digests) == 1


def test_other_programs_can_read_it(samples):
    from safetensors.numpy import load

    tensors = load(samples.to_bytes())
    assert tensors["rewards"].shape == (2, 3, 2)
    assert tensors["reference"].dtype == np.float64


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 64])
def test_refuses_other_files(content):
    with pytest.raises(InputError, match="no file of per-prompt rewards"):
        PromptRewards.from_bytes(content)


def test_refuses_safetensors_of_something_else():
    from safetensors.numpy import save

    with pytest.raises(InputError, match="no file of per-prompt rewards"):
        PromptRewards.from_bytes(save({"rewards": np.zeros((1, 2, 2))}))
    metadata = {"frontier.PromptRewards": json.dumps({"objectives": NAMES, "prompts": ["x", "y"]})}
    with pytest.raises(InputError, match="did you mean 'rewards'"):
        PromptRewards.from_bytes(save({"reward": np.zeros((1, 2, 2))}, metadata))
    with pytest.raises(InputError, match="field 'prompts' is missing"):
        PromptRewards.from_bytes(
            save({"rewards": np.zeros((1, 2, 2))}, {"frontier.PromptRewards": '{"objectives": ["helpful", "brief"]}'})
        )
    with pytest.raises(InputError, match="no file of per-prompt rewards"):
        PromptRewards.from_bytes(save({"rewards": np.zeros((1, 2, 2))}, {"frontier.PromptRewards": "3"}))


# ---- ids


def test_ids_are_of_the_content():
    chat = [{"role": "user", "content": "hi"}]
    same = [{"content": "hi", "role": "user"}]
    assert prompt_ids(["a", chat]) == prompt_ids(["a", same])
    assert len(set(prompt_ids(["a", "b", "a ", chat]))) == 4
    assert prompt_ids(["a", "b"]) == prompt_ids(["b", "a"])[::-1]
    # SHA-256 of the JSON text '"a"', first 8 bytes
    assert prompt_ids(["a"])[0] == hashlib.sha256(b'"a"').hexdigest()[:16]


def test_repeated_prompts_are_numbered():
    one, two, other, three = prompt_ids(["a", "a", "b", "a"])
    assert (two, three) == (f"{one}#2", f"{one}#3")
    assert "#" not in other


# ---- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((NAMES, np.zeros((2, 3, 3)), "xyz"), r"prompts must be ids"),
        ((NAMES, np.zeros((2, 3, 3)), tuple("xyz")), r"\[points, 3 prompts, 2 objectives \(helpful, brief\)\], found \[2, 3, 3\]"),
        ((NAMES, np.zeros((2, 2, 2)), tuple("xyz")), r"found \[2, 2, 2\]"),
        ((NAMES, np.zeros((3, 2)), tuple("xyz")), r"found \[3, 2\]"),
        ((NAMES, np.zeros((0, 3, 2)), tuple("xyz")), "at least one point and one prompt"),
        ((NAMES, np.zeros((2, 0, 2)), ()), "at least one point and one prompt"),
        ((NAMES, [[[1, math.inf]]], ("x",)), r"infinite value at \[0, 0, 1\]"),
        ((NAMES, [[["much", 1]]], ("x",)), "must be an array of numbers"),
        ((NAMES, np.zeros((1, 2, 2)), ("x", "x")), "found 'x' twice"),
        ((NAMES, np.zeros((1, 2, 2)), ("x", "")), "non-empty texts"),
        ((("a", "a"), np.zeros((1, 1, 2)), ("x",)), "named twice"),
        ((NAMES, np.zeros((1, 2, 2)), ("x", "y"), np.zeros((3, 2))), r"reference must have the shape \[2 prompts"),
        ((NAMES, np.zeros((1, 2, 2)), ("x", "y"), [[math.inf, 0], [0, 0]]), "reference must be finite"),
    ],
)  # fmt: skip
def test_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        PromptRewards(*arguments)
