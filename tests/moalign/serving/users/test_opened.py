import pytest

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.serving import ServeConfig, serve
from moalign.serving.users.opened import SECRET, users_in
from moalign.serving.users.store import Judgement

NAMES = ("helpful", "brief")
SAID = Judgement("pair", {"helpful": 1.0, "brief": -1.0}, 1.0, 0)


@pytest.fixture(scope="module")
def bundle(policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("users") / "bundle"
    policy.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"database": "mysql://localhost/x"}, "'mysql' is not supported"),
        ({"database": "/nowhere/at/all/users.db"}, "cannot be opened"),
        ({"user_prior": "/nowhere/at/all"}, "holds no ObjectiveUsers"),
        ({"reward_heads": "/nowhere/at/all"}, "reward_heads: no folder at"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_is_loaded(bundle, monkeypatch, settings, message):
    monkeypatch.setattr(SteerablePolicy, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(InputError, match=message):
        serve(bundle, ServeConfig(port=0, **settings))


def test_users_start_from_the_policys_default_and_its_units(policy, tmp_path, monkeypatch):
    units = {"objectives": list(NAMES), "location": [0.0, 0.0], "scale": [4.0, 0.5], "n": 9, "source": ""}
    monkeypatch.setattr(policy, "normalizer", units)
    book = users_in(str(tmp_path / "users.db"))(policy)
    assert book.kind == "weights"
    assert book.learner.scale == {"helpful": 4.0, "brief": 0.5}
    assert book.learner.learn([]).mean == pytest.approx((0.5, 0.5), abs=0.01)
    book.close()


def test_the_secret_is_read_from_the_environment(policy, tmp_path, monkeypatch):
    opened = users_in(str(tmp_path / "users.db"))
    monkeypatch.setenv(SECRET, "one")
    opened(policy).record("", "ann", SAID)
    assert opened(policy).taste("", "ann").n == 1
    monkeypatch.setenv(SECRET, "two")
    assert opened(policy).taste("", "ann") is None
