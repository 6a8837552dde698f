"""A search on two worker processes whose driver comes to harm; run as a script.

``tell N``: is killed when it would tell its N-th verdict. ``clock``: the wall clock jumps by hours.
``wait``: takes five seconds for each candidate.
"""

import os
import signal
import sys
import time
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

_HOUR_S = 3600.0
_jumps = 0
_honest_time = time.time


def _jumping_time() -> float:
    """Each look finds it hours ahead, at home, or hours behind."""
    global _jumps
    _jumps += 1
    return _honest_time() + (7 * _HOUR_S, 0.0, -5 * _HOUR_S, 2 * _HOUR_S)[_jumps % 4]


class _JumpingDatetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(time.time(), tz)


if __name__ in ("__main__", "__mp_main__") and sys.argv[1] == "clock":
    time.time = _jumping_time


def let_dates_jump() -> None:
    """Let Optuna and us read the date from the clock that jumps."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("nas", "optuna") and getattr(module, "datetime", None) is datetime:
            module.datetime = _JumpingDatetime  # type: ignore[attr-defined]


def die_before_telling(count: int) -> None:
    """Let this process be killed with its `count`-th verdict in its hands."""
    import nas.study

    honest, left = nas.study.tell_complete, [count]

    def tell(*args: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        honest(*args)

    nas.study.tell_complete = tell


def main(what: str, out: str, log: str, count: str = "0") -> None:
    import fake_search
    import faulty_worker
    from quick_disk import do_not_wait_for_disks

    from nas.executors.local import LocalExecutor
    from nas.study import Ending

    do_not_wait_for_disks()
    if what == "tell":
        die_before_telling(int(count))
    if what == "clock":
        let_dates_jump()
    fault = "wait" if what == "wait" else ""
    answers = (fake_search.INSPECTION, fake_search.PREPARATION, fake_search.TABLE)
    factory = partial(faulty_worker.make_faulty_worker, answers, Path(log), fault, "")
    config = fake_search.config(Path(out), trials=6, finalists=0, workers=2, timeout_s=3600.0)
    _, ending = fake_search.run(config, LocalExecutor(factory, workers=2))
    print("jumps", _jumps)
    sys.exit(130 if ending is Ending.INTERRUPTED else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
