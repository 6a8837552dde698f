"""One number about one candidate: parameters, multiply-adds, step time, accuracy after a short training."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .complexity import count_macs, count_params
    from .step_time import StepTime, StepTimeSetting
    from .step_time_measurement import measure_step_time
    from .step_time_table import StepTimeTable, read_table

_HOMES = {
    "count_macs": "complexity",
    "count_params": "complexity",
    "StepTime": "step_time",
    "StepTimeSetting": "step_time",
    "StepTimeTable": "step_time_table",
    "measure_step_time": "step_time_measurement",
    "read_table": "step_time_table",
}

__all__ = [
    "StepTime",
    "StepTimeSetting",
    "StepTimeTable",
    "count_macs",
    "count_params",
    "measure_step_time",
    "read_table",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
