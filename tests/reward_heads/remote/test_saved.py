import pytest

from frontier.errors import InputError
from reward_heads.decorrelate import Curve, Decorrelation, Length
from reward_heads.remote import HTTPReward, PrincipleJudge, RemoteReward
from reward_heads.saved import load_reward, save_reward
from reward_heads.transforms import TransformedReward


def test_returns_the_kind_that_was_saved(tmp_path):
    HTTPReward("http://host.test", ["a"]).save_pretrained(tmp_path / "http")
    PrincipleJudge({"a": "The reply is kind."}, "http://host.test/v1", "m").save_pretrained(tmp_path / "judge")
    assert isinstance(RemoteReward.from_pretrained(tmp_path / "http", device="cpu", batch_size=3), HTTPReward)
    assert isinstance(RemoteReward.from_pretrained(tmp_path / "judge"), PrincipleJudge)
    with pytest.raises(InputError, match="'kind' must be 'http', found 'judge'"):
        HTTPReward.from_pretrained(tmp_path / "judge")


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not valid JSON"), ("[]", "must be an object"), ("{}", "'schema_version' must be 1, found None")],
)
def test_refuses_broken_files(tmp_path, text, message):
    (tmp_path / "remote.json").write_text(text)
    with pytest.raises(InputError, match=rf"remote\.json: .*{message}"):
        RemoteReward.from_pretrained(tmp_path)


def test_refuses_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"remote\.json: cannot be read: No such file"):
        RemoteReward.from_pretrained(tmp_path)


def test_transforms_of_an_earlier_reward_go_away(tmp_path):
    raw = HTTPReward("http://host.test", ["a"])
    save_reward(TransformedReward(raw, [Decorrelation(("a",), Length(), (Curve((0.0, 1.0), (0.0, 1.0)),))]), tmp_path)
    assert isinstance(load_reward(tmp_path), TransformedReward)
    (tmp_path / "notes.txt").write_text("mine")
    raw.save_pretrained(tmp_path)
    assert isinstance(load_reward(tmp_path), HTTPReward)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "remote.json"]
