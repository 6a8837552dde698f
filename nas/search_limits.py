"""The limits that a configuration sets, as far as the costs they are about are known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from proxies.costs import CostModel, Encoded, MemberCosts
from proxies.memory import predict_peak_memories
from proxies.micro_batches import most_micro_batches
from search_spaces.space import SearchSpace

from .config import SearchConfig
from .limits import Array, Limit, Limits

GIB = 2**30


def search_limits(config: SearchConfig, known: CostModel, costs: MemberCosts) -> Limits:
    """All limits of a search.

    A limit on step time is missing while step times are not known: then nothing may be proposed.

    Args:
        config: Of the search.
        known: What is known of candidates before they are trained.
        costs: The same of many members at a time.
    """
    space = config.search_space()
    limits = [*size_limits(config, costs).each]
    if config.max_step_time_s is not None and known.step_times is not None:
        seconds = _step_times(costs)
        phrase = "a training step would take {:.4g} s"
        limits.append(Limit(key="max_step_time_s", most=config.max_step_time_s, cost=seconds, phrase=phrase))
    if config.max_memory_gib is not None:
        memory = _memory(config, known, space)
        phrase = "a training step would hold {:.2f} GiB"
        limits.append(Limit(key="max_memory_gib", most=config.max_memory_gib, cost=memory, phrase=phrase))
    return Limits(tuple(limits))


def size_limits(config: SearchConfig, costs: MemberCosts) -> Limits:
    """Those of parameters and multiply-adds, which are known as soon as the images are."""
    sizes: list[tuple[str, int | None, Callable[[Encoded], Array], str]] = [
        ("max_params", config.max_params, lambda encoded: costs(encoded).params, "parameters"),
        ("max_macs", config.max_macs, lambda encoded: costs(encoded).macs, "multiply-adds"),
    ]
    return Limits(
        tuple(
            Limit(key=key, most=most, cost=cost, phrase=f"it would have {{:,.0f}} {unit}")
            for key, most, cost, unit in sizes
            if most is not None
        )
    )


def _step_times(costs: MemberCosts) -> Callable[[Encoded], Array]:
    def seconds(encoded: Encoded) -> Array:
        found = costs(encoded).step_time_s
        if found is None:
            raise ValueError("a limit on step time needs step times that are known, got none")
        return found

    return seconds


def _memory(config: SearchConfig, known: CostModel, space: SearchSpace) -> Callable[[Encoded], Array]:
    """Peak memory, GiB, of a whole batch, or of the smallest parts where a batch may be split.

    Between the two it falls with every further split, see :func:`proxies.micro_batches.fit_micro_batches`.
    """
    ways = [predict_peak_memories(space, known.workload, known.device_kind)]
    if config.out_of_memory == "micro_batches":
        parts = most_micro_batches(known.workload.batch_size)
        ways.append(predict_peak_memories(space, replace(known.workload, micro_batches=parts), known.device_kind))
    return lambda encoded: np.min([predict(encoded) for predict in ways], axis=0) / GIB
