"""Ask and tell: candidates are proposed, and their verdicts written, by one process, the study's only writer."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

import optuna
from optuna.samplers import BaseSampler

from proxies.costs import CostModel
from proxies.infeasible import InfeasibleError
from proxies.seeds import derived_seed
from proxies.step_time_table import StepTimeTable
from search_spaces.architecture import parse
from search_spaces.space import SearchSpace

from .appraisal import Appraisal
from .config import SearchConfig
from .dispatch import Task
from .evaluation_tasks import Calibrate, EpochReport, Evaluation, Judge, Preparation
from .executors.interface import Died, Done, Event, Infeasible, Interrupted, Progress, Refused, RefusedError, Started
from .observer import Observer
from .proposals import Proposals, is_promoted
from .pruners.interface import Pruner
from .pruners.together import Together
from .pruning import Pruning, may_go_on
from .recovery import INTERRUPTED, NODE_LOST, deaths, ended_too_often
from .samplers import make_sampler
from .samplers.problem import EarlierRun, Problem
from .search_problem import require_reachable_step_time, search_problem
from .trial_checkpoints import KeptTraining, kept_training
from .trials import (
    Candidate,
    Outcome,
    Partial,
    State,
    TrialRecord,
    read_records,
    tell_complete,
    tell_duplicate,
    tell_failed,
    tell_infeasible,
    tell_pruned,
)

CALIBRATION = -1
"""Number of the task that calibrates; candidates have their trials' numbers."""
MAX_DUPLICATES_IN_A_ROW = 100
MAX_DYING = 4
"""Candidates that may die one after another while none comes to its end."""
MAX_FOLLOWERS = 10
"""Proposals that may wait for the verdicts of running ones; beyond, a worker idles until the sampler knows more."""


class Ending(StrEnum):
    """Why a search ended."""

    COMPLETE = "complete"
    """The budget is reached."""
    EXHAUSTED = "exhausted"
    """The sampler finds nothing new."""
    TIMEOUT = "timeout"
    """Something is left to be done, be it that pruned candidates go on."""
    INTERRUPTED = "interrupted"


@dataclass(slots=True)
class _Attempt:
    trial: optuna.Trial
    candidate: Candidate
    started: datetime
    where: str | None = None
    """The machine; None before it has one."""
    followers: list[optuna.Trial] = field(default_factory=list)
    """Proposals of the same architecture that wait for its verdict."""


class StudyLoop:
    """Proposes candidates and tells their verdicts: a source of tasks for `dispatch`."""

    def __init__(
        self,
        study: optuna.Study,
        *,
        config: SearchConfig,
        space: SearchSpace,
        preparation: Preparation,
        costs: CostModel | None,
        records: Sequence[TrialRecord],
        observer: Observer,
        pruner: Pruner | None = None,
        earlier: Sequence[EarlierRun] = (),
        on_table: Callable[[StepTimeTable], CostModel],
        on_told: Callable[[], None] = lambda: None,
        log_death: Callable[[int, Died], None] = lambda number, death: None,
        forget: Callable[[KeptTraining], None] = lambda training: None,
        stop_requested: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            study: Recovered: none of its trials is running.
            config: Of the search.
            space: The configuration's.
            preparation: Of this run.
            costs: What is known of candidates beforehand; None while there is no step-time table: then the first task
                calibrates it, beside the first candidates, whose verdicts wait for it.
            records: The study's trials.
            observer: Is told what happens.
            pruner: Decides which trainings need not begin or go on; by default all do.
            earlier: What other runs found out.
            on_table: Keeps the table that was calibrated, and makes the costs of it.
            on_told: Called after each verdict, to refresh what people look at.
            log_death: Called with a task's number and its death, which may hold a traceback.
            forget: Called with a training that has its last verdict, told.
            stop_requested: Whether somebody asked to stop.
            clock: Monotonic seconds; the time-out counts from now.
        """
        self._study, self._config, self._space, self._preparation = study, config, space, preparation
        self._observer, self._on_told, self._log_death, self._forget = observer, on_told, log_death, forget
        self._appraisal, self._on_table = Appraisal(config, preparation, costs), on_table
        self._unpriced: list[tuple[_Attempt, Evaluation]] = []
        self._is_calibrating, self._calibration_deaths = False, 0
        self._stop_requested, self._clock = stop_requested, clock
        self._deadline = clock() + (config.timeout_s or math.inf)
        self._earlier = earlier
        self._pruning = Pruning(pruner or Together(()), self._appraisal, backbone=str(space.backbone), records=records)
        self._problem, self._sampler_of = self._make_sampler()
        self._verdicts = {r.candidate.architecture: r for r in records if r.is_judged and r.candidate}
        self._running: dict[int, _Attempt] = {}
        self._dying: set[str] = set()
        """Architectures whose attempts have died since one came to its end."""
        self._proposals = Proposals(study, space, seed=config.seed, records=records, original=self._original)

    @property
    def judged(self) -> int:
        """Candidates with a verdict."""
        return len(self._verdicts)

    @property
    def ending(self) -> Ending:
        """Why nothing more is proposed, once that is so."""
        if not self._proposals.num_promoted:
            if self.judged >= self._config.trials:
                return Ending.COMPLETE
            if self._is_exhausted:
                return Ending.EXHAUSTED
        return Ending.TIMEOUT if self._clock() >= self._deadline else Ending.INTERRUPTED

    def next_task(self) -> Task | None:
        """The calibration, if it is to be made; else the next candidate that is not known yet."""
        if self._appraisal.costs is None and not self._is_calibrating:
            self._is_calibrating = True
            return Task(CALIBRATION, Calibrate(preparation=self._preparation))
        self._enqueue_promoted()
        while self._may_ask() and not self._stop_requested():
            trial, candidate = self._proposals.take(self._sampler_of)
            if candidate.duplicate_of is not None:
                self._give_known_verdict(trial, candidate)
                continue
            self._proposals.repeats = 0
            attempt = self._start(trial, candidate)
            architecture = parse(candidate.architecture)
            beyond = self._problem.limits.reason(self._space.encode(architecture))
            if beyond is not None:
                self._declare_infeasible(attempt, beyond)
            elif self._pruning.begin(trial.number, candidate) is not None:
                self._prune(attempt)
                self._enqueue_promoted()
            else:
                work = self._work(candidate, self._appraisal.micro_batches(architecture))
                return Task(trial.number, work, self._config.trial_timeout_s)
        return None

    def unwanted(self) -> list[int]:
        """Running tasks that shall be halted, each once."""
        return self._pruning.unwanted()

    def handle(self, event: Event) -> None:
        """Take what became of an attempt.

        Raises:
            RefusedError: If a worker finds that the user has to act.
        """
        if event.task == CALIBRATION:
            self._handle_calibration(event)
            return
        attempt = self._running[event.task]
        match event:
            case Started(where=where):
                attempt.where = where
            case Progress(task=number, fraction=fraction, doing=doing, found=found):
                self._observer.progressed(number, fraction, doing)
                if isinstance(found, EpochReport):
                    self._pruning.hear(number, found)
            case Done(result=Evaluation() as evaluation):
                self._dying.clear()
                self._take(attempt, evaluation)
            case Done(result=result):
                raise TypeError(f"an evaluation was expected, got {type(result).__name__}")
            case Infeasible(reason=reason):
                self._declare_infeasible(attempt, reason)
            case Died():
                self._bury(attempt, event)
            case Interrupted() if self._pruning.reason(event.task) is not None:
                self._dying.clear()  # it has trained until it was told not to
                self._prune(attempt)
            case Interrupted(lost_node=lost_node):
                self._lay_aside(attempt, lost_node)
            case Refused(reason=reason):
                raise RefusedError(reason)

    def _handle_calibration(self, event: Event) -> None:
        match event:
            case Progress(doing=doing):
                self._observer.calibrating(doing)
            case Done(result=StepTimeTable() as table):
                self._appraisal.costs = self._on_table(table)
                self._problem, self._sampler_of = self._make_sampler()
                self._observer.calibrated(table)
                waiting, self._unpriced = self._unpriced, []
                for attempt, evaluation in waiting:
                    self._judge(attempt, evaluation)
            case Done(result=result):
                raise TypeError(f"a step-time table was expected, got {type(result).__name__}")
            case Died(reason=reason):
                self._log_death(CALIBRATION, event)
                self._is_calibrating = False
                self._calibration_deaths += 1
                if self._calibration_deaths > self._config.max_retries:
                    self._give_up(reason)
            case Interrupted():
                self._is_calibrating = False
            case Infeasible(reason=reason) | Refused(reason=reason):
                self._give_up(reason)

    def _give_up(self, reason: str) -> NoReturn:
        self.abandon(CALIBRATION)
        raise RefusedError(f"step times cannot be calibrated: {reason}")

    def abandon(self, task: int) -> None:
        """Leave no attempt running; another one is owed."""
        if task == CALIBRATION:
            # What waits for the table has no price, and is done again.
            waiting, self._unpriced = self._unpriced, []
            for attempt, _ in waiting:
                self._abandon(attempt.trial.number)
            return
        self._abandon(task)

    def _abandon(self, task: int) -> None:
        attempt = self._running.pop(task, None)
        self._pruning.drop(task)
        if attempt is not None:
            for trial in (attempt.trial, *attempt.followers):
                tell_failed(self._study, trial, INTERRUPTED)

    def _enqueue_promoted(self) -> None:
        """Let pruned candidates that deserve it by now go on, before anything new; after a time-out, the next time."""
        for record in self._pruning.promotions():
            self._proposals.promote(record)

    def _may_ask(self) -> bool:
        if self._clock() >= self._deadline:
            return False
        # What goes on after it was pruned is counted already.
        fresh = sum(not is_promoted(attempt.candidate) for attempt in self._running.values())
        if self.judged + fresh >= self._config.trials and not self._proposals.num_promoted:
            return False
        if self._appraisal.costs is None and self._config.max_step_time_s is not None:
            return False  # nobody knows yet who keeps the limit, the backbone included
        if self._proposals.num_waiting:
            return True
        followers = sum(len(attempt.followers) for attempt in self._running.values())
        return followers < MAX_FOLLOWERS and not self._is_exhausted

    @property
    def _is_exhausted(self) -> bool:
        return self._proposals.repeats >= MAX_DUPLICATES_IN_A_ROW or self.judged >= self._space.size

    def _make_sampler(self) -> tuple[Problem, Callable[[int], BaseSampler]]:
        problem = search_problem(
            self._config,
            self._preparation,
            self._appraisal.reward,
            self._appraisal.costs,
            self._earlier,
            self._pruning.expected_reward,
        )
        require_reachable_step_time(problem)
        return problem, make_sampler(self._config.sampler, problem)

    def _original(self, architecture: str) -> int | None:
        """The trial that has judged, or is judging, this architecture."""
        if architecture in self._verdicts:
            return self._verdicts[architecture].number
        running = (n for n, attempt in self._running.items() if attempt.candidate.architecture == architecture)
        return next(running, None)

    def _give_known_verdict(self, trial: optuna.Trial, candidate: Candidate) -> None:
        verdict = self._verdicts.get(candidate.architecture)
        if verdict is None and candidate.duplicate_of is not None:
            self._running[candidate.duplicate_of].followers.append(trial)
            return
        self._proposals.repeats += 1
        if verdict is not None:
            self._tell_alike(trial, verdict)

    def _start(self, trial: optuna.Trial, candidate: Candidate) -> _Attempt:
        attempt = self._running[trial.number] = _Attempt(trial, candidate, datetime.now())
        self._observer.started(trial.number, candidate.architecture)
        return attempt

    def _work(self, candidate: Candidate, micro_batches: int) -> Judge:
        return Judge(
            architecture=candidate.architecture,
            seed=self._seed_of(candidate),
            preparation=self._preparation,
            # Of a batch in parts no table knows.
            measure=self._config.step_time.method == "measured" or micro_batches > 1,
            micro_batches=micro_batches,
        )

    def _seed_of(self, candidate: Candidate) -> int:
        return derived_seed(self._config.seed, candidate.architecture, 0)

    def _take(self, attempt: _Attempt, evaluation: Evaluation) -> None:
        """Judge what a worker found out, as soon as its price is known."""
        if self._appraisal.costs is None:
            self._unpriced.append((attempt, evaluation))
        else:
            self._judge(attempt, evaluation)

    def _judge(self, attempt: _Attempt, evaluation: Evaluation) -> None:
        try:
            outcome = self._appraisal.outcome(parse(attempt.candidate.architecture), evaluation, attempt.where)
        except InfeasibleError as error:
            self._declare_infeasible(attempt, error.reason)
            return
        tell_complete(self._study, attempt.trial, outcome, self._appraisal.values(outcome))
        self._conclude(attempt, State.COMPLETE, outcome=outcome)

    def _declare_infeasible(self, attempt: _Attempt, reason: str) -> None:
        tell_infeasible(self._study, attempt.trial, reason)
        self._conclude(attempt, State.INFEASIBLE, reason=reason)

    def _prune(self, attempt: _Attempt) -> None:
        number, seed = attempt.trial.number, self._seed_of(attempt.candidate)
        partial = self._pruning.stopped(number, seed=seed, where=attempt.where)
        tell_pruned(self._study, attempt.trial, partial, self._appraisal.value_of(partial))
        self._conclude(attempt, State.PRUNED, partial=partial, reason=partial.reason)

    def _bury(self, attempt: _Attempt, death: Died) -> None:
        """Let an attempt that died be made again, unless it has died too often."""
        self._log_death(attempt.trial.number, death)
        self._require_that_not_all_die(attempt, death)
        died_before = deaths(attempt.candidate, read_records(self._study))
        if died_before >= self._config.max_retries:
            self._declare_infeasible(attempt, f"died {died_before + 1} times, last: {death.reason}")
        else:
            self._fail(attempt, death.reason)

    def _require_that_not_all_die(self, attempt: _Attempt, death: Died) -> None:
        """Where one candidate after another dies and none lives, it is the machine or the code, not the candidates."""
        self._dying.add(attempt.candidate.architecture)
        if len(self._dying) > MAX_DYING:
            count = len(self._dying)
            raise RefusedError(f"workers died over {count} candidates in a row, last: {death.reason} (see errors.log)")

    def _lay_aside(self, attempt: _Attempt, lost_node: bool) -> None:
        """Let an attempt that ended through no fault of its own be made again, and go on where it can."""
        reason = NODE_LOST if lost_node else INTERRUPTED
        too_often = ended_too_often(attempt.candidate, reason, read_records(self._study))
        if too_often is not None:
            self._declare_infeasible(attempt, too_often)
        else:
            self._fail(attempt, reason)

    def _fail(self, attempt: _Attempt, reason: str) -> None:
        tell_failed(self._study, attempt.trial, reason)
        self._proposals.try_again(attempt.candidate)
        self._conclude(attempt, State.FAILED, reason=reason)

    def _conclude(
        self,
        attempt: _Attempt,
        state: State,
        *,
        outcome: Outcome | None = None,
        partial: Partial | None = None,
        reason: str | None = None,
    ) -> None:
        """What follows from every end of an attempt, whatever it was."""
        record = TrialRecord(
            number=attempt.trial.number,
            state=state,
            candidate=attempt.candidate,
            outcome=outcome,
            partial=partial,
            reason=reason,
            started=attempt.started,
            finished=datetime.now(),
            params=attempt.trial.params,
        )
        del self._running[record.number]
        if record.is_judged:
            self._verdicts[attempt.candidate.architecture] = record
            self._pruning.told(record)
            if not may_go_on(record, self._config):
                self._forget(kept_training(self._config, attempt.candidate.architecture))
        else:
            self._pruning.drop(record.number)
        for trial in attempt.followers:
            self._tell_alike(trial, record)
        reward = self._appraisal.reward_of(outcome) if outcome else None
        self._observer.finished(record, reward, judged=self.judged)
        self._on_told()

    def _tell_alike(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """Finish a proposal of an architecture that is known."""
        if record.state is State.FAILED:
            tell_failed(self._study, trial, f"its original, trial {record.number}, died")
        elif record.partial is not None:
            tell_pruned(self._study, trial, record.partial, self._appraisal.value_of(record.partial))
        else:
            tell_duplicate(self._study, trial, self._appraisal.values(record.outcome) if record.outcome else None)
