"""Make API keys, and recognise them by their hashes alone."""

import hashlib
import hmac
import secrets

PREFIX = "mo-"
ALGORITHM = "hmac-sha256"
# Longer than any key of ours; what is longer is refused unhashed.
MOST_BYTES = 256


def make_key() -> str:
    """A fresh key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def make_salt() -> str:
    """A fresh salt for a policy file, in hexadecimal digits."""
    return secrets.token_hex(16)


def hash_key(key: bytes | str, salt: str) -> str:
    """What a policy file holds in a key's place: `hmac-sha256:` and 64 hexadecimal digits.

    A fast hash is the right one here. Slow ones (scrypt, argon2) make up for what people's passwords lack; a key has 256 random bits, which no speed of hashing searches, and is hashed anew for every
    request, so a slow hash would only let strangers keep the server busy with wrong keys. The salt, one for each file, keeps equal keys of two servers from looking alike.

    Args:
        key (`bytes` or `str`): the key.
        salt (`str`): hexadecimal digits.
    """
    data = key.encode() if isinstance(key, str) else key
    return f"{ALGORITHM}:{hmac.new(bytes.fromhex(salt), data, hashlib.sha256).hexdigest()}"


def same_hash(a: str, b: str) -> bool:
    """Whether two hashes are equal, in a time that tells nothing about where they differ."""
    return hmac.compare_digest(a.encode(), b.encode())
