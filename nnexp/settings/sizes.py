"""How images are divided into batches, and a batch into chunks: one rule for both."""


def batch_sizes(num_images: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of an epoch: every image once, the last batch short.

    A single image left over joins the batch before it: alone it would leave BatchNorm one value
    per statistic where the map is 1×1. So for every norm, to keep them comparable.
    """
    full, rest = divmod(num_images, batch_size)
    if rest == 1 and full > 0:
        return [batch_size] * (full - 1) + [batch_size + 1]
    return [batch_size] * full + [rest] * (rest > 0)
