"""Data that ships with the package, so that everything can be tried without a network."""
