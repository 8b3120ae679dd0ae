"""What a training step costs with each method: time, memory, FLOPs and operations."""
