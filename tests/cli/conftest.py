"""The hub on this machine for commands that fetch, and as one that can be written to."""

from tests.fake_hub import hub, python
from tests.uploading_hub import uploading_hub

__all__ = ["hub", "python", "uploading_hub"]
