"""The version of nnexp, which runs and pages record."""

__version__ = "0.1.0"
