import hashlib
import hmac

from moalign.serving.access.keys import hash_key, make_key, make_salt, same_hash


def test_a_hash_is_the_salted_hmac():
    expected = hmac.new(b"\x00\xff" * 8, b"mo-key", hashlib.sha256).hexdigest()
    assert hash_key("mo-key", "00ff" * 8) == hash_key(b"mo-key", "00ff" * 8) == f"hmac-sha256:{expected}"


def test_rfc_4231_case_2():
    assert hash_key("what do ya want for nothing?", b"Jefe".hex()) == (
        "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_keys_are_long_and_never_the_same():
    keys = {make_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("mo-") and len(key) == 3 + 43 and key.isascii() for key in keys)  # 43 letters of 6 bits
    assert len({make_salt() for _ in range(100)}) == 100


def test_hashes_depend_on_key_and_salt():
    a, b = "00" * 16, "11" * 16
    assert hash_key("x", a) != hash_key("x", b)
    assert hash_key("x", a) != hash_key("y", a)
    assert same_hash(hash_key("x", a), hash_key("x", a))
    assert not same_hash(hash_key("x", a), hash_key("x", b))
