"""Keys of what a graph makes: the same wherever and whenever, before anything runs.

``Keys`` makes those of one graph's nodes and items; what they were made of is kept as ``KeyParts``
and compared by ``differences``. The rules are those of ``docs/caching.md``; policies are made by
:mod:`armoflow.policies`. Nothing here runs, reads files other than sources, or imports the user's
modules.
"""

from armoflow.cache.environment_key import KEY_VERSION, make_environment
from armoflow.cache.fingerprints import key_of
from armoflow.cache.key_parts import (
    CodeParts,
    Difference,
    KeyParts,
    decode_code,
    decode_parts,
    differences,
)
from armoflow.cache.node_keys import Keys, NodeKey

__all__ = [
    "KEY_VERSION",
    "CodeParts",
    "Difference",
    "KeyParts",
    "Keys",
    "NodeKey",
    "decode_code",
    "decode_parts",
    "differences",
    "key_of",
    "make_environment",
]
