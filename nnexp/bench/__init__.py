"""Throughput of the training loop beside the bare step and a textbook loop."""
