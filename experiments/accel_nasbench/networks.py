"""Numbers of members by a small ensemble of networks."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from proxies.costs import Encoded

NUM_NETWORKS = 3
HIDDEN = 128
EPOCHS = 30
BATCH_SIZE = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.3
"""Width, epochs and decay were chosen by cross-validation among the training rows."""

Weights = Mapping[str, NDArray[np.float32]]


def thermometer_bits(encoded: Encoded, num_values: Sequence[int]) -> NDArray[np.float32]:
    """Each ordered choice of m values as m - 1 bits, +1 for every value it has reached and -1 for the rest.

    >>> thermometer_bits(np.array([[1, 0]]), (3, 2))
    array([[ 1., -1., -1.]], dtype=float32)

    Args:
        encoded: Members as rows of choices, (N, number of choices).
        num_values: Of each choice.
    """
    columns = [encoded[:, choice] >= place for choice, count in enumerate(num_values) for place in range(1, count)]
    return np.where(np.array(columns).T, 1.0, -1.0).astype(np.float32)


class Networks:
    """Predicts a number of each member: the mean of networks with two hidden layers, needs no torch."""

    def __init__(self, weights: Weights, num_values: Sequence[int]) -> None:
        """
        Args:
            weights: As `fit_networks` found them; their first axis counts the networks.
            num_values: Of each choice.
        """
        self.weights = weights
        self._num_values = tuple(num_values)

    def __call__(self, encoded: Encoded) -> NDArray[np.float64]:
        weights, values = self.weights, thermometer_bits(encoded, self._num_values)[None]
        for layer in range(3):
            values = values @ weights[f"weight{layer}"] + weights[f"bias{layer}"]
            if layer < 2:
                values = 0.5 * values * (1 + erf(values / np.sqrt(2.0)))
        scaled = values[..., 0].mean(axis=0, dtype=np.float64)
        return np.asarray(weights["mean"] + weights["spread"] * scaled, dtype=np.float64)


def fit_networks(encoded: Encoded, target: NDArray[np.float64], num_values: Sequence[int]) -> Networks:
    """Train the ensemble on one number of each member, (N,); all networks at once, some tens of seconds."""
    import torch

    rng = np.random.default_rng(0)
    bits = torch.from_numpy(thermometer_bits(encoded, num_values))
    mean, spread = target.mean(), target.std()
    wanted = torch.from_numpy(((target - mean) / spread).astype(np.float32))
    weights = _draw_weights(rng, bits.shape[1])
    parameters = {name: torch.from_numpy(value).requires_grad_() for name, value in weights.items()}
    steps = len(bits) // BATCH_SIZE
    optimizer = torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * steps, pct_start=0.1)
    for _ in range(EPOCHS):
        orders = torch.from_numpy(np.stack([rng.permutation(len(bits)) for _ in range(NUM_NETWORKS)]))
        for step in range(steps):
            chosen = orders[:, step * BATCH_SIZE : (step + 1) * BATCH_SIZE]
            values = bits[chosen]
            for layer in range(3):
                values = torch.baddbmm(parameters[f"bias{layer}"], values, parameters[f"weight{layer}"])
                if layer < 2:
                    values = torch.nn.functional.gelu(values)
            # Summed over networks, so that each learns as if it were alone.
            loss = ((values[..., 0] - wanted[chosen]) ** 2).mean(dim=1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    found = {name: value.detach().numpy() for name, value in parameters.items()}
    return Networks(
        {**found, "mean": np.array(mean, dtype=np.float32), "spread": np.array(spread, dtype=np.float32)}, num_values
    )


def _draw_weights(rng: np.random.Generator, num_bits: int) -> dict[str, NDArray[np.float32]]:
    """Uniform within ± 1 / √inputs, weights and biases."""
    sizes = (num_bits, HIDDEN, HIDDEN, 1)
    weights = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        for name, rows in (("weight", inputs), ("bias", 1)):
            drawn = rng.uniform(-1, 1, (NUM_NETWORKS, rows, outputs)) / np.sqrt(inputs)
            weights[f"{name}{layer}"] = drawn.astype(np.float32)
    return weights
