"""Models are fetched from a hub on this machine."""

from tests.fake_hub import hub, python

__all__ = ["hub", "python"]
