"""Whether a base model is the one that is on record: by the hash of its weights, or by its commit on the hub."""

from collections.abc import Mapping
from typing import Any

IDENTITY = {"weights_sha256": "weights' sha256", "revision": "commit", "weights_revision": "commit of the weights"}
"""What identifies a model in the facts on its origin."""


def other_weights(stated: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """In what a model is another one than was stated; None if it is the same, as far as both can be compared."""
    for key, name in IDENTITY.items():
        before, now = stated.get(key), found.get(key)
        if before and now and before != now:
            return f"the {name} is {now[:12]}, and was {before[:12]}"
    return None


def can_be_compared(stated: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return any(stated.get(key) and found.get(key) for key in IDENTITY)
