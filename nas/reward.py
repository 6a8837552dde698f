"""The number a search maximises: accuracy, training step time and parameters in one."""

import math
from dataclasses import dataclass

PAPER_W = -0.07
PAPER_V = -0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """A · (S/S_ref)^w · (P/P_ref)^v, higher is better (arXiv:2104.00298, section 3.2).

    The paper normalises S and does not say by what; here S and P are divided by those of the space's backbone, so that
    the backbone's reward is its accuracy. References scale every reward alike and never change a ranking.

    >>> reward = Reward(step_time_ref_s=0.1, params_ref=1_000_000)
    >>> reward(accuracy=0.8, step_time_s=0.1, params=1_000_000)
    0.8

    Raises:
        ValueError: If an exponent is not finite or a reference is not finite and positive.
    """

    w: float = PAPER_W
    """Exponent of step time; negative, so that slow networks lose."""
    v: float = PAPER_V
    """Exponent of parameters; negative, so that large networks lose."""
    step_time_ref_s: float
    params_ref: int

    def __post_init__(self) -> None:
        for name in ("w", "v"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        for name in ("step_time_ref_s", "params_ref"):
            _require_positive(name, getattr(self, name))

    def __call__(self, *, accuracy: float, step_time_s: float, params: int) -> float:
        """The reward of one candidate.

        Args:
            accuracy: A, top-1, a fraction in [0, 1].
            step_time_s: S, median seconds of one training step, on the device of the reference.
            params: P, trainable parameters.

        Raises:
            ValueError: If accuracy is outside [0, 1] or a cost is not finite and positive.
        """
        if not 0.0 <= accuracy <= 1.0:
            raise ValueError(f"accuracy must lie in [0, 1], got {accuracy}")
        return accuracy * self.cost_factor(step_time_s=step_time_s, params=params)

    def cost_factor(self, *, step_time_s: float, params: int) -> float:
        """What a candidate's accuracy is multiplied by: known before it is trained.

        Raises:
            ValueError: If a cost is not finite and positive.
        """
        _require_positive("step_time_s", step_time_s)
        _require_positive("params", params)
        return (step_time_s / self.step_time_ref_s) ** self.w * (params / self.params_ref) ** self.v


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and positive, got {value}")
