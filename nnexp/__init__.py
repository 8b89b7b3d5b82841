"""nnexp: what a normalization layer does to the training of a convolutional network."""
