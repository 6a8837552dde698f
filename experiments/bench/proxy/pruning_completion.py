"""What pruned candidates would have come to: each is trained to the end once, as its search would have done."""

from collections.abc import Iterator, Sequence

from nas.config import SearchConfig
from nas.evaluation_tasks import AccuracyRecord, Evaluation, Judge
from nas.executors.choice import make_executor
from nas.executors.interface import Died, Done, Executor, Infeasible, Interrupted, Refused
from nas.run import Run
from nas.trials import TrialRecord
from proxies.seeds import derived_seed


def train_to_the_end(
    config: SearchConfig, run: Run, records: Sequence[TrialRecord]
) -> Iterator[tuple[TrialRecord, AccuracyRecord]]:
    """Train candidates with the seeds that they had in their search, from the start.

    Raises:
        RuntimeError: If one cannot be trained.
    """
    if not records:
        return
    executor = make_executor(config.model_copy(update={"checkpoint_every_s": 0.0}))
    try:
        for record in records:
            executor.submit(record.number, _work(config, run, record))
            yield record, _result(executor)
    finally:
        executor.close()


def _work(config: SearchConfig, run: Run, record: TrialRecord) -> Judge:
    if record.candidate is None:
        raise ValueError(f"only what has an architecture can be trained, got trial {record.number}")
    architecture = record.candidate.architecture
    seed = derived_seed(config.seed, architecture, 0)
    return Judge(architecture=architecture, seed=seed, preparation=run.preparation, measure=False)


def _result(executor: Executor) -> AccuracyRecord:
    while True:
        for event in executor.events(1.0):
            match event:
                case Done(result=Evaluation(accuracy=accuracy)):
                    return accuracy
                case (
                    Died(task=task, reason=reason)
                    | Infeasible(task=task, reason=reason)
                    | Refused(task=task, reason=reason)
                ):
                    raise RuntimeError(f"trial {task} cannot be trained to the end: {reason}")
                case Interrupted(task=task):
                    raise RuntimeError(f"trial {task} cannot be trained to the end: its worker was asked to end")
