import subprocess
import sys

import pytest

from reward_heads import remote


@pytest.mark.parametrize("name", remote.__all__)
def test_public_names_exist(name):
    assert getattr(remote, name).__name__ == name


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'HTTPRewards'"):
        remote.HTTPRewards


def test_httpx_is_not_needed_to_import_or_to_make_one():
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "from reward_heads.remote import AsyncReward, HTTPReward, PrincipleJudge\n"
        "HTTPReward('http://host.test', ['a']); PrincipleJudge({'a': 'Is kind.'}, 'http://host.test/v1', 'm')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
