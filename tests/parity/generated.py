"""Numbers that follow from a name, an index and a seed: `tests/src/generate.rs` in Python, for the golden scripts."""

import numpy as np

MASK = (1 << 64) - 1


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & MASK
    return value


def uniform(name: str, count: int, seed: int) -> np.ndarray:
    """`count` numbers in [-1, 1): splitmix64 over a counter that starts at (name, seed)."""
    gamma = 0x9E3779B97F4A7C15
    start = (fnv1a(name.encode()) + seed * gamma) & MASK
    z = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(gamma)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53 * 2.0 - 1.0
