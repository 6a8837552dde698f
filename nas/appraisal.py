"""What a candidate costs and is worth: S, P and memory beside the accuracy that its training showed, and the reward."""

import math
from collections.abc import Sequence
from functools import partial

from proxies.costs import CostModel
from proxies.infeasible import InfeasibleError
from proxies.micro_batches import fit_micro_batches
from search_spaces.architecture import Architecture

from .config import SearchConfig
from .evaluation_tasks import AccuracyRecord, Evaluation, Preparation
from .pricing import require_usable, reward_of, target_workload
from .reward import Reward
from .search_limits import GIB
from .trials import Outcome, Partial


class Appraisal:
    """Appraises the candidates of one run.

    Attributes:
        reward: Of the run.
        costs: What is known of candidates before they are trained; None while there is no step-time table.
    """

    def __init__(self, config: SearchConfig, preparation: Preparation, costs: CostModel | None) -> None:
        self.reward = reward_of(config, preparation)
        self.costs = costs
        self._config = config
        # Memory follows from the architecture alone, before there is a table.
        self._memory_model = CostModel(
            workload=target_workload(config, preparation), device_kind=preparation.target_kind
        )

    def micro_batches(self, architecture: Architecture) -> int:
        """In how many parts a step of the target training fits into memory, if it does."""
        if self._config.max_memory_gib is None:
            return 1
        needed = partial(self._memory_model.peak_memory_bytes, architecture)
        limit, batch_size = self._config.max_memory_gib * GIB, self._config.step_time.batch_size
        return fit_micro_batches(needed, limit, batch_size) or 1

    def outcome(self, architecture: Architecture, evaluation: Evaluation, where: str | None) -> Outcome:
        """All that is stored of a judged candidate.

        Args:
            architecture: The candidate.
            evaluation: What a worker found out.
            where: The worker's machine.

        Raises:
            InfeasibleError: If its measured step time is no number, or beyond the limit.
        """
        if self.costs is None:
            raise RuntimeError("a candidate cannot be priced before the step-time table is there")
        measured = evaluation.step_time
        require_usable(measured)
        parts = measured.micro_batches if measured else 1
        costs = self.costs(architecture, parts)
        if measured is None and costs.step_time_s is None:
            raise RuntimeError("a candidate whose step time is not predicted must be measured")
        outcome = Outcome(
            accuracy=evaluation.accuracy,
            step_time_s=measured.median_s if measured else costs.step_time_s or math.nan,
            step_time_rse=measured.relative_standard_error if measured else costs.step_time_rse,
            params=costs.params,
            macs=costs.macs,
            peak_memory_bytes=costs.peak_memory_bytes,
            micro_batches=parts,
            seconds=evaluation.seconds,
            where=where,
            step_time=measured,
        )
        self._require_in_time(outcome)
        return outcome

    def _require_in_time(self, outcome: Outcome) -> None:
        """Only of a batch in parts is S measured where there is a limit; all else was judged by it beforehand."""
        limit = self._config.max_step_time_s
        if limit is not None and outcome.step_time_s > limit:
            found = f"a training step takes {outcome.step_time_s:.4g} s in {outcome.micro_batches} parts"
            raise InfeasibleError(f"{found}, max_step_time_s is {limit:g}")

    def reward_factor(self, architecture: Architecture) -> float | None:
        """R ÷ A of a candidate, as far as it is known before training."""
        if self.costs is None or self.micro_batches(architecture) > 1:
            return None  # of a batch in parts no table knows
        costs = self.costs(architecture)
        if costs.step_time_s is None:
            return None
        return self.reward.cost_factor(step_time_s=costs.step_time_s, params=costs.params)

    def stopped(
        self, architecture: Architecture, reason: str, accuracy: AccuracyRecord | None, where: str | None
    ) -> Partial:
        """All that is stored of a pruned candidate.

        Args:
            architecture: The candidate.
            reason: Why it was pruned.
            accuracy: After the last epoch that was trained; None if none was.
            where: The worker's machine.
        """
        if self.costs is None:
            raise RuntimeError("a candidate cannot be priced before the step-time table is there")
        costs = self.costs(architecture)
        is_whole = self.micro_batches(architecture) == 1
        step_time_s = costs.step_time_s if is_whole else None
        return Partial(reason=reason, accuracy=accuracy, step_time_s=step_time_s, params=costs.params, where=where)

    def value_of(self, partial: Partial, accuracy: float | None = None) -> float | None:
        """R of a pruned candidate, None where it is not known.

        Args:
            partial: What is stored of it.
            accuracy: In place of what it had come to.
        """
        if accuracy is None and partial.accuracy is not None:
            accuracy = partial.accuracy.accuracy
        if accuracy is None or partial.step_time_s is None:
            return None
        return self.reward(accuracy=accuracy, step_time_s=partial.step_time_s, params=partial.params)

    def values(self, outcome: Outcome) -> list[float]:
        """What the sampler learns."""
        return values_of(outcome, self._config.objectives, self.reward)

    def reward_of(self, outcome: Outcome) -> float:
        """R."""
        return _reward_of(outcome, self.reward)


def values_of(outcome: Outcome, objectives: Sequence[str], reward: Reward) -> list[float]:
    """What the sampler learns of a judged candidate: the objectives in their order, or where there are none R."""
    figures = {
        "accuracy": outcome.accuracy.accuracy,
        "step_time": outcome.step_time_s,
        "params": float(outcome.params),
    }
    return [figures[name] for name in objectives] or [_reward_of(outcome, reward)]


def _reward_of(outcome: Outcome, reward: Reward) -> float:
    return reward(accuracy=outcome.accuracy.accuracy, step_time_s=outcome.step_time_s, params=outcome.params)
