import pytest

from frontier.errors import InputError
from frontier.realize.merging.reference import Reference, find_folder


def test_text_forms(tmp_path):
    assert Reference.parse("org/model") == Reference("org/model")
    assert Reference.parse("org/model@v2+my/lora") == Reference("org/model@v2", "my/lora")
    assert str(Reference.parse("base+lora")) == "base+lora"
    (tmp_path / "c++").mkdir()
    assert Reference.parse(str(tmp_path / "c++")).lora is None


@pytest.mark.parametrize("text", ["", "a+", "+b", "a+b+c"])
def test_refuses(text):
    with pytest.raises(InputError):
        Reference.parse(text)


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_folder(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="no such folder, and the hub"):
        find_folder("nobody/nothing")  # the tests are offline
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        find_folder(str(tmp_path / "file"))


def test_the_hub_is_asked_for_the_revision_and_for_no_pickles(monkeypatch, tmp_path):
    asked = {}

    def download(repository, revision, allow_patterns):
        asked.update(repository=repository, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_folder("org/model@v2") == tmp_path
    assert (asked["repository"], asked["revision"]) == ("org/model", "v2")
    assert not any("bin" in pattern or "pt" in pattern for pattern in asked["patterns"])
