"""Few-shot neural tangent kernels (the paper's Section 5): gradients, prompts and draws, solvers, analyses."""
