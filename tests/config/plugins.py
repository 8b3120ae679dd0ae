"""The plug-ins that shipped sweeps need."""

from rocoft_bench.config import config_root

PLUGINS = {"evidence_published": config_root().parent / "scripts" / "published_rocoft.py"}
"""By the name of the sweep's file."""
