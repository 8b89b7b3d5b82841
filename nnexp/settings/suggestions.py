"""What a mistyped word was meant to be: habit first, then spelling."""

import difflib
from collections.abc import Iterable

# What people type by habit, from papers and from other tools → what it is called here.
HABITS = {
    "adam": "adamw",
    "amp": "precision",
    "arch": "model",
    "architecture": "model",
    "batch": "batch_size",
    "batchsize": "batch_size",
    "bn": "batch",
    "bs": "batch_size",
    "clip": "optimizer.clip_norm",
    "cuda": "device",
    "dataset": "data",
    "drop_path": "model.stochastic_depth",
    "dtype": "precision",
    "epsilon": "norm.eps",
    "false": "none",
    "g": "norm.num_groups",
    "gn": "group",
    "gpu": "device",
    "grad_clip": "optimizer.clip_norm",
    "groups": "norm.num_groups",
    "identity": "none",
    "in": "instance",
    "learningrate": "optimizer.learning_rate",
    "ln": "layer",
    "lr": "optimizer.learning_rate",
    "lr_scheduler": "schedule",
    "net": "model",
    "network": "model",
    "no": "none",
    "normalization": "norm",
    "null": "none",
    "off": "none",
    "opt": "optimizer",
    "optim": "optimizer",
    "output_dir": "runs_dir",
    "out_dir": "runs_dir",
    "random_seed": "seed",
    "sched": "schedule",
    "scheduler": "schedule",
    "wd": "optimizer.weight_decay",
    "workers": "threads",
}


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the one of `words` that `word` was meant to be, or None where none is near."""
    words = sorted(words)
    plain = word.lower().replace("-", "_").strip()
    if plain in words:
        return plain
    if HABITS.get(plain) in words:
        return HABITS[plain]
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
    if (habit := HABITS.get(key.lower()) or HABITS.get(leaf.lower())) in keys:
        return [habit]
    if parent and (sibling := nearest(leaf, _leaves(keys, parent))):
        return [f"{parent}.{sibling}"]
    if same_leaf := sorted(known for known in keys if known.endswith(f".{leaf}")):
        return same_leaf
    if parent:
        return []
    if whole := nearest(key, [known for known in keys if "." not in known]):
        return [whole]
    near = nearest(leaf, {known.rpartition(".")[2] for known in keys})
    return sorted(known for known in keys if near and known.rpartition(".")[2] == near)


def _leaves(keys: set[str], parent: str) -> list[str]:
    """Return the last words of the settings right under `parent`."""
    return [key.rpartition(".")[2] for key in keys if key.rpartition(".")[0] == parent]
