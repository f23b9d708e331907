import copy
import threading

import pytest
import torch
from torch.testing import assert_close
from transformers import AlbertConfig, AlbertForSequenceClassification, AutoModelForSequenceClassification

from frontier.errors import InputError
from reward_heads.model import TransformerReward
from reward_heads.pooling import masked_mean, set_pooling

from .encoders import KINDS, make_encoder

PROMPTS = ["ask me :", "please :", "the cat"]
COMPLETIONS = [" good dog .", " the big red sky ran very fine .", " sat"]


def test_masked_mean_by_hand():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    assert_close(masked_mean(hidden, torch.tensor([[1, 1, 0]])), torch.tensor([[2.0, 4.0]]))
    assert_close(masked_mean(hidden[:, :2], None), torch.tensor([[2.0, 4.0]]))


def trunk_means(reward):
    """The mean hidden state of each text, one at a time, without padding."""
    rows = reward.encode(PROMPTS, COMPLETIONS)
    with torch.no_grad():
        return torch.cat([reward.model.base_model(torch.tensor([row])).last_hidden_state.mean(1) for row in rows])


def manual(reward):
    """Mean pooling written out for each architecture."""
    model, mean = reward.model, trunk_means(reward)
    with torch.no_grad():
        if hasattr(model, "score"):
            return model.score(mean)
        if hasattr(model, "bert"):
            return model.classifier(torch.tanh(model.bert.pooler.dense(mean)))
        if hasattr(model, "roberta"):
            return model.classifier.out_proj(torch.tanh(model.classifier.dense(mean)))
        return model.classifier(torch.relu(model.pre_classifier(mean)))


@pytest.fixture(params=["llama", *KINDS])
def any_reward(request, base, tokenizer):
    if request.param == "llama":
        return TransformerReward.from_base(base, ["kind", "brief"], tokenizer=tokenizer, pooling="mean")
    return make_encoder(request.param, tokenizer, pooling="mean")


def test_is_the_mean_written_out(any_reward):
    got = any_reward.score(PROMPTS, COMPLETIONS)
    assert_close(got, manual(any_reward), atol=1e-5, rtol=1e-4)
    set_pooling(any_reward.model, "model")
    assert any_reward.pooling == "model"
    assert not torch.allclose(any_reward.score(PROMPTS, COMPLETIONS), got, atol=1e-3)
    set_pooling(any_reward.model, "mean")
    assert_close(any_reward.score(PROMPTS, COMPLETIONS), got)


def test_every_token_gets_a_gradient(any_reward):
    ids, mask = any_reward.pad(any_reward.encode(PROMPTS, COMPLETIONS))
    embedded = any_reward.model.get_input_embeddings()(ids).detach().requires_grad_()
    any_reward.model(inputs_embeds=embedded, attention_mask=mask).logits.sum().backward()
    moved = embedded.grad.abs().amax(dim=2) > 0
    assert moved.equal(mask.bool())


def test_round_trip_and_no_other_reader(any_reward, tmp_path):
    expected = any_reward.score(PROMPTS, COMPLETIONS)
    any_reward.save_pretrained(tmp_path)
    again = TransformerReward.from_pretrained(tmp_path)
    assert again.pooling == "mean"
    assert_close(again.score(PROMPTS, COMPLETIONS), expected, atol=1e-6, rtol=1e-5)
    _, found = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert found["missing_keys"]
    assert all(name.startswith("mean_pooled_head.") for name in found["unexpected_keys"])
    (tmp_path / "reward_heads.json").unlink()
    with pytest.raises(InputError, match=r"saved with mean pooling, and its reward_heads\.json is lost"):
        TransformerReward.from_pretrained(tmp_path)


def test_state_dicts_and_copies_keep_it(any_reward):
    expected = any_reward.score(PROMPTS, COMPLETIONS)
    twin = TransformerReward(copy.deepcopy(any_reward.model), any_reward.tokenizer, max_length=any_reward.max_length)
    assert twin.pooling == "mean"
    with torch.no_grad():
        for weight in twin.model.parameters():
            weight.zero_()
    twin.model.load_state_dict(any_reward.model.state_dict())
    assert_close(twin.score(PROMPTS, COMPLETIONS), expected)


def test_the_trunk_alone_and_new_heads(reward, tokenizer):
    ids, mask = reward.pad(reward.encode(PROMPTS, COMPLETIONS))
    with torch.no_grad():
        before = reward.model.base_model(ids, attention_mask=mask).last_hidden_state
        set_pooling(reward.model, "mean")
        reward.score(PROMPTS, COMPLETIONS)
        assert_close(reward.model.base_model(ids, attention_mask=mask).last_hidden_state, before)
    assert TransformerReward.from_base(reward.model, ["x"], tokenizer=tokenizer).pooling == "mean"


def test_calls_in_other_threads_do_not_matter(any_reward):
    expected = any_reward.score(PROMPTS, COMPLETIONS)
    inside, other_is_done, found = threading.Event(), threading.Event(), []

    def wait(*_):
        if threading.current_thread().name == "slow":
            inside.set()
            assert other_is_done.wait(60)

    hook = any_reward.model.get_input_embeddings().register_forward_hook(wait)
    slow = threading.Thread(name="slow", target=lambda: found.append(any_reward.score(PROMPTS, COMPLETIONS)))
    slow.start()
    assert inside.wait(60)
    found.append(any_reward.score(PROMPTS, COMPLETIONS))
    other_is_done.set()
    slow.join()
    hook.remove()
    assert len(found) == 2
    for scores in found:
        assert_close(scores, expected)


def test_albert_whose_pooler_is_a_bare_layer(tokenizer):
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AlbertConfig(
        vocab_size=64, intermediate_size=16, max_position_embeddings=48, initializer_range=0.3, **sizes
    )
    reward = TransformerReward(AlbertForSequenceClassification(config).eval(), tokenizer, pooling="mean")
    with torch.no_grad():
        expected = reward.model.classifier(torch.tanh(reward.model.albert.pooler(trunk_means(reward))))
    assert_close(reward.score(PROMPTS, COMPLETIONS), expected, atol=1e-5, rtol=1e-4)


def test_new_heads_on_a_saved_reward_pool_as_it_did(any_reward, tmp_path):
    any_reward.save_pretrained(tmp_path)
    assert TransformerReward.from_base(tmp_path, ["x"]).pooling == "mean"
    assert TransformerReward.from_base(tmp_path, ["x"], pooling="model").pooling == "model"


def test_refuses_another_pooling(reward):
    with pytest.raises(InputError, match="unknown pooling 'men': did you mean 'mean'"):
        set_pooling(reward.model, "men")
