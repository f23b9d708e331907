"""Groups of users with a transformer's reward for each: planted groups are found, saved, and read back."""

import json

import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import TransformerReward
from reward_heads.users import UserGroups, UserGroupsConfig, fit_user_groups

QUICK = {"max_groups": 3, "learning_rate": 1e-2, "num_epochs": 2, "rounds": 2, "device": "cpu", "restarts": 3}
CAT, DOG = " the cat good", " the dog bad"


@pytest.fixture(scope="module")
def fitted(base_folder, rows_of):
    return fit_user_groups(base_folder, rows_of(), UserGroupsConfig(**QUICK))


def check(groups):
    assert groups.names == ("group1", "group2")
    assert groups.reward.objectives == groups.names
    assert groups.members() == {
        "group1": tuple(f"u{i}" for i in range(6)),
        "group2": tuple(f"u{i}" for i in range(6, 9)),
    }
    nice, bad = groups.reward.score(["ask me :"] * 2, [CAT, DOG])
    assert nice[0] > bad[0]
    assert nice[1] < bad[1]
    assert [found.accuracy for found in groups.accuracy] == [1.0, 1.0]


def test_finds_groups_and_what_they_want(fitted):
    check(fitted)
    assert fitted.chosen == 2
    assert fitted.trained[0] > fitted.likelihood[0].mean  # better than a single reward


@pytest.mark.parametrize(
    "more",
    [{"assignment": "hard"}, {"selection": "model"}, {"trainable": "lora", "lora_rank": 4}, {"trainable": "heads"}],
    ids=lambda more: "-".join(map(str, more.values())),
)
def test_every_way_finds_them(more, base_folder, rows_of):
    check(fit_user_groups(base_folder, rows_of(), UserGroupsConfig(**QUICK, **more)))


def test_a_loaded_model_and_a_reward_are_starting_points_that_stay_as_they_are(reward, base, tokenizer, rows_of):
    config = UserGroupsConfig(**QUICK | {"max_groups": 2})
    for model in (base, reward):
        weights = {name: w.clone() for name, w in (model if model is base else model.model).state_dict().items()}
        check(fit_user_groups(model, rows_of(), config, tokenizer=tokenizer))
        for name, w in (model if model is base else model.model).state_dict().items():
            assert torch.equal(w, weights[name]), name


def test_equal_seeds_give_equal_results(fitted, base_folder, rows_of):
    torch.manual_seed(123)  # the global state has no say
    again = fit_user_groups(base_folder, rows_of(), UserGroupsConfig(**QUICK))
    assert torch.equal(again.responsibilities, fitted.responsibilities)
    for name, weight in fitted.reward.model.state_dict().items():
        assert torch.equal(weight, again.reward.model.state_dict()[name]), name
    assert again.table() == fitted.table()


def test_scores_are_centred_on_the_training_completions(fitted):
    texts = [f" the cat {w}" for w in ("good", "nice", "fine")] + [f" the dog {w}" for w in ("bad", "awful")]
    assert fitted.reward.score(["ask me :"] * 5, texts).mean(0).abs().max() < 1e-4


def test_saves_an_ordinary_reward_folder(fitted, tmp_path):
    fitted.save(tmp_path / "groups")
    prompts, texts = ["ask me :"] * 2, [CAT, DOG]
    plain = TransformerReward.from_pretrained(tmp_path / "groups")
    assert_close(plain.score(prompts, texts), fitted.reward.score(prompts, texts))
    assert plain.training == "pairs"
    back = UserGroups.load(tmp_path / "groups")
    assert back.table() == fitted.table()
    assert back.assign("u7") == "group2"
    assert back.objective == "liked"
    assert torch.equal(back.responsibilities, fitted.responsibilities)
    assert list(json.loads((tmp_path / "groups" / "groups.json").read_text())["users"]) == list(fitted.users)


def test_a_new_user(fitted):
    likes_dogs = {"prompt": "ask me :", "completion_a": CAT, "completion_b": DOG, "labels": {"liked": 0.0}}
    silent = likes_dogs | {"labels": {"liked": None}}
    prior = dict(zip(fitted.names, fitted.shares.tolist(), strict=True))
    assert fitted.posterior([]) == pytest.approx(prior)
    assert fitted.posterior([silent, silent]) == pytest.approx(prior)
    found = [fitted.posterior([likes_dogs] * n)["group2"] for n in range(4)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(1 / 3, abs=1e-3)
    assert found[3] > 0.99


def test_the_scale_of_each_group(fitted, rows_of):
    rows = rows_of(seed=5)
    for i, row in enumerate(rows):  # one label in four is wrong, for everybody
        row["labels"]["liked"] = row["labels"]["liked"] if i // 9 % 4 else 1 - row["labels"]["liked"]
    found = fitted.bradley_terry_scale(rows)
    assert found.objectives == fitted.names
    assert found.n.tolist() == [216, 216]
    # P = 3/4 for every pair: the mean nats per pair are about log 3.
    size = fitted.reward.score(["ask me :"] * 2, [CAT, DOG]).diff(dim=0).abs()[0].double()
    assert_close(found.scale * size, torch.full((2,), 1.1).double(), atol=0.5, rtol=0)


def test_refusals(fitted, base_folder, rows_of, tmp_path):
    with pytest.raises(InputError, match="max_groups is 10, but only 9 users have labelled pairs"):
        fit_user_groups(base_folder, rows_of(2), UserGroupsConfig(**QUICK | {"max_groups": 10}))
    alone = [row | {"user": "ann"} for row in rows_of(2)]
    with pytest.raises(InputError, match="there is only one: 'ann'"):
        fit_user_groups(base_folder, alone, UserGroupsConfig(**QUICK))
    with pytest.raises(InputError, match="'zoe' is none of the 9 users"):
        fitted.bradley_terry_scale([row | {"user": f"zo{'ea'[i % 2]}"} for i, row in enumerate(rows_of(2))])
    with pytest.raises(InputError, match="is a rating"):
        fitted.posterior([{"prompt": "p", "completion": "c", "scores": {"liked": 1.0}}])
    with pytest.raises(InputError, match=r"holds no user groups: it has no groups.json"):
        UserGroups.load(tmp_path)
    fitted.save(tmp_path / "g")
    path = tmp_path / "g" / "groups.json"
    good = json.loads(path.read_text())
    for change, message in (
        ({"schema_version": 9}, "groups.json: field 'schema_version' must be 1"),
        ({"share": 1}, "groups.json: unknown field 'share': did you mean 'shares'"),
        ({"groups": ["a", "b"]}, "has the groups a, b, but the reward model beside it group1, group2"),
        ({"users": 3}, "groups.json: not valid"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(InputError, match=message):
            UserGroups.load(tmp_path / "g")


def test_finds_the_groups_of_the_oracle_world(tmp_path):
    from moalign.oracle import OracleWorld

    world = OracleWorld.covered()
    world.save(tmp_path / "world")
    pairs, truth = world.sample_user_pairs(4000, 40)
    config = UserGroupsConfig(max_groups=3, learning_rate=1e-3, batch_size=64, num_epochs=2, rounds=2, device="cpu")
    groups = fit_user_groups(tmp_path / "world", pairs, config)
    users = sorted(truth)
    found = adjusted_rand_score([truth[u] for u in users], [groups.assign(u) for u in users])
    assert found >= 0.95
    assert groups.chosen == len(groups.names) == 2
    assert_close(groups.shares, torch.tensor([0.8, 0.2]).double(), atol=0.03, rtol=0)
    # Each learned reward follows its own group's and not the other's, whose tastes are opposed (correlation -0.5).
    prompts = [prompt for prompt in world.prompts for _ in world.completions[::37]]
    texts = [text for _ in world.prompts for text in world.completions[::37]]
    learned = groups.reward.score(prompts, texts).double()
    true = world.group_rewards[:, ::37].reshape(-1, 2)
    correlation = torch.corrcoef(torch.cat([learned, true], 1).T)[:2, 2:]
    assert correlation[0, 0] > 0.6
    assert correlation[1, 1] > 0.4
    assert correlation[0, 1] < 0
    assert correlation[1, 0] < 0
