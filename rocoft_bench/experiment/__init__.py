"""One experiment, in the order of the paper's Section 4: resolve, build, run, evaluate, predict and export."""
