"""What a mistyped word was meant to be: habit first, then spelling."""

import difflib
from collections.abc import Iterable

# What it is called here → what people type by habit, from papers and from other tools.
HABITS = {
    "adamw": "adam",
    "batch": "bn sync_batch sync_bn syncbn",
    "batch_renorm": "brn",
    "batch_size": "batch batchsize bs",
    "data": "dataset",
    "device": "cuda gpu",
    "dynamic_tanh": "dyt",
    "ghost": "gbn",
    "group": "gn",
    "group_ws": "gn_ws ws",
    "instance": "in",
    "layer": "ln",
    "model": "arch architecture net network",
    "model.stochastic_depth": "drop_path",
    "none": "false identity no null off",
    "norm": "normalization",
    "norm.eps": "epsilon",
    "norm.num_groups": "g groups",
    "optimizer": "opt optim",
    "optimizer.clip_norm": "clip grad_clip",
    "optimizer.learning_rate": "learningrate lr",
    "optimizer.weight_decay": "wd",
    "precision": "amp dtype",
    "runs_dir": "output_dir out_dir",
    "schedule": "lr_scheduler sched scheduler",
    "seed": "random_seed",
    "switchable": "sn",
    "threads": "workers",
}
MEANT = {typed: known for known, habits in HABITS.items() for typed in habits.split()}


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of `words` that `word` was meant to be, or None where none is near."""
    words = sorted(words)
    plain = word.lower().replace("-", "_").strip()
    if plain in words:
        return plain
    if MEANT.get(plain) in words:
        return MEANT[plain]
    for known in words:
        if len(plain) > 2 and (known.startswith(plain) or plain.startswith(known)):
            return known
    return next(iter(difflib.get_close_matches(plain, words, 1, 0.6)), None)


def nearest_keys(key: str, keys: Iterable[str]) -> list[str]:
    """Return the settings that `key` was meant to be; several where its last word is in several.

    A setting beside it goes first (`optimizer.momentun`), then the same last word elsewhere
    (`learning_rate`), then the nearest spelling of a whole key or of a last word.
    """
    keys = set(keys)
    parent, _, leaf = key.rpartition(".")
    if (habit := MEANT.get(key.lower()) or MEANT.get(leaf.lower())) in keys:
        return [habit]
    siblings = [known.rpartition(".")[2] for known in keys if known.rpartition(".")[0] == parent]
    if parent and (sibling := nearest(leaf, siblings)):
        return [f"{parent}.{sibling}"]
    if same_leaf := sorted(known for known in keys if known.endswith(f".{leaf}")):
        return same_leaf
    if parent:
        return []
    if whole := nearest(key, [known for known in keys if "." not in known]):
        return [whole]
    near = nearest(leaf, {known.rpartition(".")[2] for known in keys})
    return sorted(known for known in keys if near and known.rpartition(".")[2] == near)
