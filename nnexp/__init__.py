"""nnexp: what a normalization layer does to the training of a convolutional network."""

__version__ = "0.1.0"
