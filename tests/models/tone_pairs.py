"""Pairs that share two numbers, which canonical correlation analysis can find."""

import numpy as np
import torch

BANDS = {"a": 1, "b": 3}


class SharedTone:
    """Pairs whose a is one mixture and whose b's bands are three of the same two numbers per
    pair (tone and roughness), under noise: what CCA can find."""

    def __init__(self, n: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.tone, self.rough = rng.standard_normal((2, n))
        noise = rng.standard_normal((n, 4, 16, 16)) * np.exp(0.5 * self.rough)[:, None, None, None]
        mean = self.tone[:, None] * np.array([1.0, 0.5, -1.0, 0.2]) + rng.normal(0, 0.1, (n, 4))
        images = torch.from_numpy((mean[:, :, None, None] + 0.3 * noise).astype(np.float32))
        self.sides = {"a": images[:, :1], "b": images[:, 1:]}

    def __len__(self) -> int:
        return len(self.tone)

    def batch(self, positions: np.ndarray) -> dict[str, torch.Tensor]:
        return {m: side[torch.from_numpy(positions)] for m, side in self.sides.items()}
