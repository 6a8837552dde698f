"""Workers of a cluster's nodes, which find there what the node's environment says; they import little."""

import os
import time
from dataclasses import replace

from workloads import Simply

from nas.evaluation_tasks import AccuracyRecord, Calibrate, Evaluation, Inspect, Inspection, Judge, Preparation, Prepare
from nas.executors.interface import Evaluate, Report
from proxies.step_time_table import StepTimeTable


def make_node_worker(answers: tuple[Inspection, Preparation, StepTimeTable], seconds: float, worker: int) -> Evaluate:
    """A worker that answers at once, or takes its time for a candidate.

    Args:
        answers: To what is no candidate; `NODE_IMAGES` and `NODE_HARDWARE` name others.
        seconds: For each candidate.
        worker: Index.
    """
    inspection, preparation, table = answers
    data = replace(inspection.data, digest=os.environ.get("NODE_IMAGES", inspection.data.digest))
    hardware = os.environ.get("NODE_HARDWARE", inspection.hardware)

    def evaluate(work: object, report: Report) -> object:
        match work:
            case Inspect():
                return replace(inspection, data=data, hardware=hardware)
            case Prepare():
                return preparation
            case Calibrate():
                return table
            case Judge(architecture=architecture, seed=seed):
                report(0.5, str(os.getpid()))
                time.sleep(seconds)
                record = AccuracyRecord(
                    num_correct=500 + len(architecture), num_images=1000, seed=seed, train_seconds=0.1
                )
                return Evaluation(accuracy=record, seconds=seconds)
        raise TypeError(work)

    return Simply(evaluate)
