"""The training engine on accelerate: loop, batches, checkpoints, memory."""
