"""Sweeps: a grid → jobs → a pool of processes → outcomes."""
