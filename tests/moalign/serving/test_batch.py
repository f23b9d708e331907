import dataclasses
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moalign.serving.batch import RunningBatch
from moalign.serving.compiled import CompiledModel
from moalign.serving.prefix import PrefixKeys
from moalign.serving.request import Gathered, GenerationFailed, GenerationRequest, Ticket
from moalign.serving.row import Row
from moalign.serving.text import TextStream

# (prompt length, weights, max_tokens, temperature, seed, step at which it joins)
CASES = st.tuples(
    st.integers(1, 20), st.floats(-0.5, 1.5), st.integers(1, 12), st.sampled_from([0.0, 0.0, 0.7, 1.5]),
    st.integers(0, 2**40), st.integers(0, 8),
)  # fmt: skip


def advance(batch):
    """What the worker does between two looks at its queue."""
    batch.prefill()
    batch.decode()


def make_request(length, weight, max_tokens, temperature, seed, **more):
    prompt = random.Random(seed).choices(range(6, 60), k=length)
    weights = torch.tensor([weight, 1 - weight])
    return GenerationRequest(prompt, weights, max_tokens, temperature, seed=seed, **more)


class Listener:
    """A row with what it was told."""

    def __init__(self, policy, request, choice=0):
        self.gathered = Gathered([request])
        self.failures = []
        self.ticket = Ticket(self.hear, 1)
        self.row = Row(request, self.ticket, policy.tokenizer, policy.eos_token_ids, 0, choice)

    def hear(self, event):
        if isinstance(event, GenerationFailed):
            self.failures.append(event)
        else:
            self.gathered.add(event)

    @property
    def answer(self):
        return self.gathered.completions()[0][0]


def run_alone(policy, request):
    listener = Listener(policy, request)
    batch = RunningBatch(policy)
    batch.join([listener.row])
    while batch.rows:
        advance(batch)
    return listener.answer


def run_together(policy, arrivals):
    """`arrivals`: (request, step at which it joins)."""
    listeners = [Listener(policy, request) for request, _ in arrivals]
    batch = RunningBatch(policy)
    step = 0
    while step <= max(at for _, at in arrivals) or batch.rows:
        joining = [x.row for x, (_, at) in zip(listeners, arrivals, strict=True) if at == step]
        if joining:
            batch.join(joining)
        advance(batch)
        step += 1
    assert batch.cells == 0
    return [listener.answer for listener in listeners]


@given(st.lists(CASES, min_size=2, max_size=6))
@settings(deadline=None, max_examples=12)
def test_each_answer_is_the_one_it_gets_alone(policy, cases):
    arrivals = [(make_request(*case[:5]), case[5]) for case in cases]
    together = run_together(policy, arrivals)
    assert together == [run_alone(policy, request) for request, _ in arrivals]


def test_greedy_equals_generate(policy):
    requests = [
        make_request(length, w, 12, 0.0, seed) for seed, (length, w) in enumerate([(3, 0.0), (9, 1.0), (5, 0.4)])
    ]
    answers = run_together(policy, [(request, i) for i, request in enumerate(requests)])
    expected = policy.generate_ids(
        [r.prompt_ids for r in requests], torch.stack([r.weights for r in requests]), max_new_tokens=12, do_sample=False
    )
    assert [list(a.token_ids) for a in answers] == expected
    assert [a.text for a in answers] == policy.tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert len({a.token_ids for a in answers}) == 3


def test_the_weights_of_a_row_matter_and_only_its_own(policy):
    prompt = [6, 7, 8, 9]
    texts = {
        w: run_alone(policy, GenerationRequest(prompt, torch.tensor([w, 1 - w]), 12, 0.0)).text for w in (0.0, 0.5, 1.0)
    }
    assert len(set(texts.values())) == 3
    both = run_together(policy, [(GenerationRequest(prompt, torch.tensor([w, 1 - w]), 12, 0.0), 0) for w in texts])
    assert [a.text for a in both] == list(texts.values())


def test_leaving_trims_what_only_the_leaver_needed(policy):
    long, short = make_request(20, 0.5, 3, 0.0, 1), make_request(2, 0.5, 12, 0.0, 2)
    listeners = [Listener(policy, r) for r in (long, short)]
    batch = RunningBatch(policy)
    batch.join([x.row for x in listeners])
    batch.prefill()
    batch.prefill()
    assert batch.cells == 40
    listeners[0].ticket.cancel()
    batch.leave()
    assert batch.rows == [listeners[1].row]
    assert batch.cells == 2


def test_an_answer_ends_at_an_ending_token_which_it_holds_but_does_not_show(policy):
    request = make_request(4, 0.5, 8, 0.0, 3)
    tokens = run_alone(policy, request).token_ids
    end = tokens[2]
    listener = Listener(policy, request)
    listener.row._ends = {end}
    batch = RunningBatch(policy)
    batch.join([listener.row])
    while batch.rows:
        advance(batch)
    first = tokens.index(end)
    assert listener.answer.token_ids == tokens[: first + 1]
    assert listener.answer.text == policy.tokenizer.decode(tokens[:first])
    assert listener.answer.finish_reason == "stop"


def test_stop_texts_cut_the_answer(policy):
    request = make_request(4, 0.5, 10, 0.0, 1)
    whole = run_alone(policy, request)
    words = whole.text.split(" ")
    stop = f" {words[4]}"
    stopped = run_alone(policy, make_request(4, 0.5, 10, 0.0, 1, stop=(stop, "nowhere")))
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert len(stopped.token_ids) <= 5
    assert whole.finish_reason == "length"


def test_choices_differ_and_the_first_does_not_depend_on_how_many_there_are(policy):
    request = make_request(4, 0.5, 10, 1.5, 4, n=3)
    listeners = [Listener(policy, request, choice) for choice in range(3)]
    batch = RunningBatch(policy)
    batch.join([x.row for x in listeners])
    while batch.rows:
        advance(batch)
    # each was told about its own choice
    answers = [x.gathered.completions()[0][i] for i, x in enumerate(listeners)]
    assert len({a.token_ids for a in answers}) == 3
    assert answers[0] == run_alone(policy, make_request(4, 0.5, 10, 1.5, 4))


def test_a_row_of_nan_fails_alone(policy, monkeypatch):
    good, bad = (Listener(policy, make_request(4, 0.5, 6, 0.0, seed)) for seed in (1, 2))
    batch = RunningBatch(policy)
    forward = batch._forward

    def spoiled(*args):
        logits = forward(*args)
        for i, row in enumerate(batch.rows):
            if row is bad.row:
                logits[i] = torch.nan
                batch.cache.layers[0].keys[i] = torch.nan
                batch.cache.layers[1].values[i] = torch.nan
        return logits

    monkeypatch.setattr(batch, "_forward", spoiled)
    batch.join([good.row, bad.row])
    while batch.rows:
        advance(batch)
    assert good.answer == run_alone(policy, good.row.request)
    assert "not numbers" in str(bad.failures[0])
    # nor does what it left harm the next row of its slot
    assert not any(buffer.isnan().any() for buffer in batch.cache.buffers)


def test_models_without_positions_are_refused(policy, monkeypatch):
    monkeypatch.setattr(policy.model.get_base_model(), "forward", lambda input_ids: None)
    with pytest.raises(ValueError, match="takes no position_ids"):
        RunningBatch(policy)


def test_attention_without_masks_is_refused(policy, monkeypatch):
    monkeypatch.setattr(policy.base.config, "_attn_implementation_internal", "flash_attention_2")
    with pytest.raises(ValueError, match=r"attn_implementation='flash_attention_2'.*'sdpa' or 'eager'"):
        RunningBatch(policy)


def test_eager_attention_gives_the_same(policy):
    requests = [(make_request(3 + 4 * s, s / 3, 8, 0.0, s), s) for s in range(4)]
    expected = run_together(policy, requests)
    policy.base.set_attn_implementation("eager")
    try:
        assert run_together(policy, requests) == expected
    finally:
        policy.base.set_attn_implementation("sdpa")


def test_answers_of_one_request_share_the_work_on_its_prompt(policy, monkeypatch):
    request = make_request(20, 0.5, 6, 0.0, 4, n=3)
    batch = RunningBatch(policy, max_prefill_tokens=8)
    widths = []
    forward = batch._forward
    monkeypatch.setattr(batch, "_forward", lambda ids, *more: (widths.append(tuple(ids.shape)), forward(ids, *more))[1])
    listeners = [Listener(policy, request, choice) for choice in range(3)]
    batch.join([x.row for x in listeners])
    while batch.rows:
        advance(batch)
    assert widths == [(1, 8), (1, 8), (1, 4), *[(3, 1)] * 5]
    assert listeners[0].answer == run_alone(policy, make_request(20, 0.5, 6, 0.0, 4))


def test_compiled_decoding_is_for_gpus(policy):
    with pytest.raises(ValueError, match="compile_decode: needs a CUDA GPU, and the policy is on 'cpu'"):
        RunningBatch(policy, compile_decode=True)


def test_decoding_rounds_its_reads_up_where_it_is_compiled(policy):
    requests = [make_request(3 + 4 * s, s / 3, 8, 0.0, s) for s in range(3)]
    expected = [run_alone(policy, request) for request in requests]
    listeners = [Listener(policy, request) for request in requests]
    batch = RunningBatch(policy)
    lengths = []

    def compiled(model):
        def call(**inputs):
            lengths.append(inputs["attention_mask"].shape[-1])
            return model(**inputs)

        return call

    batch._compiled = CompiledModel(batch.model, compiled)
    batch.join([x.row for x in listeners])
    while batch.rows:
        advance(batch)
    assert [x.answer for x in listeners] == expected
    assert set(lengths) == {batch.cache.capacity}


# ---- one row's misfortune is nobody else's


def finish(batch):
    while batch.rows:
        advance(batch)


@pytest.fixture
def spoil(policy):
    """Makes the model compute NaN for prompts with the token 20, until it is called."""
    embedding = policy.model.get_input_embeddings()

    def hook(_, inputs, output):
        return output.masked_fill((inputs[0] == 20).unsqueeze(-1), torch.nan)

    handle = embedding.register_forward_hook(hook)
    yield handle.remove
    handle.remove()


def of_tokens(tokens, max_tokens=5, **more):
    return GenerationRequest(tokens, torch.tensor([0.7, 0.3]), max_tokens, 0.0, **more)


def test_prompts_that_came_to_nan_are_not_remembered(policy, spoil):
    prompt = [6] * 20 + [20] + [7] * 12
    batch = RunningBatch(policy, prefix_tokens=256)
    bad, good = Listener(policy, of_tokens(prompt)), Listener(policy, of_tokens([9] * 33))
    batch.join([bad.row, good.row])
    finish(batch)
    assert bad.failures
    assert batch.prefixes.tokens == 32  # of the good one
    spoil()
    again = Listener(policy, of_tokens(prompt))
    batch.join([again.row])
    finish(batch)
    assert again.answer == run_alone(policy, of_tokens(prompt))


def test_nan_leaves_with_all_answers_of_a_submission(policy, spoil):
    """The first one that fails closes the ticket of the others; what they hold must go as well."""
    request = of_tokens([6] * 20 + [20] + [7] * 12, n=3)
    events = []
    ticket = Ticket(events.append, 3)
    rows = [Row(request, ticket, policy.tokenizer, policy.eos_token_ids, 0, i) for i in range(3)]
    batch = RunningBatch(policy)
    batch.join(rows)
    finish(batch)
    assert len(events) == 1
    assert not any(buffer.isnan().any() for buffer in batch.cache.buffers)


@pytest.mark.parametrize("end", ["cancel", "expire"])
def test_nan_leaves_with_a_prompt_that_is_given_up_halfway(policy, spoil, end):
    batch = RunningBatch(policy, max_prefill_tokens=8)
    listener = Listener(policy, of_tokens([20] * 30))
    batch.join([listener.row])
    batch.prefill()
    assert any(buffer.isnan().any() for buffer in batch.cache.buffers)
    listener.ticket.cancel() if end == "cancel" else listener.row.expire()
    batch.leave()
    assert not any(buffer.isnan().any() for buffer in batch.cache.buffers)


def test_a_row_that_goes_while_another_joins(policy):
    """The slot of the new one does not exist yet when it moves up."""
    batch = RunningBatch(policy)
    first = [Listener(policy, make_request(5, 0.5, 20, 0.0, seed)) for seed in range(2)]
    batch.join([x.row for x in first])
    advance(batch)
    advance(batch)
    full = batch.cache.slots - len(first)
    more = [Listener(policy, make_request(5, 0.5, 20, 0.0, 9 + seed)) for seed in range(full)]
    batch.join([x.row for x in more])
    last = Listener(policy, make_request(5, 0.5, 6, 0.0, 30))
    batch.join([last.row])
    assert len(batch.rows) > batch.cache.slots
    first[0].ticket.cancel()
    finish(batch)
    for x in [first[1], *more, last]:
        assert x.answer == run_alone(policy, x.row.request)


def test_a_row_whose_token_cannot_be_chosen_fails_alone(policy, caplog):
    good, bad = (Listener(policy, make_request(4, 0.5, 8, 1.5, seed)) for seed in (1, 2))
    bad.row.sampler = dataclasses.replace(bad.row.sampler, temperature="warm")
    good.row.sampler = dataclasses.replace(good.row.sampler, top_p=0.9)
    expected = run_alone(policy, make_request(4, 0.5, 8, 1.5, 1, top_p=0.9))
    batch = RunningBatch(policy)
    batch.join([bad.row, good.row])
    finish(batch)
    assert good.answer == expected
    assert "its log has the reason" in str(bad.failures[0])
    assert "one row failed" in caplog.text


def test_a_row_whose_text_cannot_be_decoded_fails_alone(policy):
    class Broken:
        def decode(self, *_, **__):
            raise KeyError("no such token")

    good, bad = (Listener(policy, make_request(4, 0.5, 8, 0.0, seed)) for seed in (1, 2))
    bad.row._text = TextStream(Broken())
    batch = RunningBatch(policy)
    batch.join([bad.row, good.row])
    finish(batch)
    assert good.answer == run_alone(policy, good.row.request)
    assert bad.failures


def test_a_prompt_is_read_once_for_what_it_is_remembered_by(policy, monkeypatch):
    read = []
    of = PrefixKeys.of
    monkeypatch.setattr(PrefixKeys, "of", lambda weights, prompt: (read.append(len(prompt)), of(weights, prompt))[1])
    batch = RunningBatch(policy, max_prefill_tokens=8, prefix_tokens=256)
    batch.join([Listener(policy, make_request(20, 0.5, 2, 0.0, 1)).row])
    finish(batch)
    listeners = [Listener(policy, make_request(length, 0.5, 2, 0.0, length)) for length in (40, 39, 38, 37)]
    batch.join([x.row for x in listeners])
    finish(batch)
    assert sorted(read) == [20, 37, 38, 39, 40]


def test_only_prompts_that_are_worked_on_get_what_is_remembered(policy):
    prompt = list(range(6, 42))
    batch = RunningBatch(policy, max_prefill_tokens=4, prefix_tokens=256)
    batch.join([Listener(policy, of_tokens(prompt)).row])
    finish(batch)
    listeners = [Listener(policy, of_tokens([*prompt, i])) for i in (7, 8, 9)]
    batch.join([x.row for x in listeners])
    batch.prefill()  # 4 of the 5 tokens that the first one lacks
    assert [x.row.cached for x in listeners] == [36, 0, 0]
    finish(batch)
    for x in listeners:
        assert x.answer == run_alone(policy, x.row.request)
