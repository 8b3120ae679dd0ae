"""What methods put into a model or into the training loop: modules, optimizers, hooks. These need torch at import."""
