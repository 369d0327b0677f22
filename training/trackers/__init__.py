"""Weights & Biases and TensorBoard: each follows a run's events.jsonl in a process of its own."""
