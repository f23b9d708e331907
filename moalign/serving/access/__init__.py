"""Decide who may use a server, and how much: keys, the preferences that each may ask for, and its limits.

```yaml
# policy.yaml, made by `moalign serve keys add --policy policy.yaml --name shop --requests_per_minute 60`
salt: "5f0c..."
keys:
  - name: shop
    hash: "hmac-sha256:..."
    requests_per_minute: 60
    preference: {safety: {min: 0.2}}
```
"""

from moalign.serving.access.access import Access
from moalign.serving.access.caller import ANYONE, Caller, Forbidden, Range
from moalign.serving.access.policy_file import AccessPolicy, add_key, read_policy
from moalign.serving.access.usage import TooMany, Usage

__all__ = [
    "ANYONE",
    "Access",
    "AccessPolicy",
    "Caller",
    "Forbidden",
    "Range",
    "TooMany",
    "Usage",
    "add_key",
    "read_policy",
]
