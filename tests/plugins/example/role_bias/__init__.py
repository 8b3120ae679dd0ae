"""A method and a task outside of rocoft_bench, installed as a package."""
