"""Pushing trained adapters and merged models to the hub."""
