"""The hub on this machine for commands that fetch."""

from tests.fake_hub import hub, python

__all__ = ["hub", "python"]
