"""A fit on a search's run directory: its images, its training and its target device judge how networks grow."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import optuna

from search_spaces.scaling import Coefficients, coefficient_grid

from ..config import SearchConfig
from ..dispatch import dispatch
from ..evaluation_tasks import Evaluation
from ..executors.choice import make_executor
from ..executors.interface import RefusedError
from ..interruption import stop_on_signals
from ..run import Run
from ..search import MakeExecutor
from ..storage import open_study
from ..trials import read_fit_evaluations
from .budget import Request
from .fit import FitCandidate, choose_survivors, chosen_entry, fit_candidates, of_like_macs, rank_survivors
from .fit_loop import FitLoop, FitTraining, OnProgress
from .members import Fit
from .plan import Planner


class InterruptedFitError(Exception):
    """A stop was requested; what was trained is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPlan:
    """What is fitted, and how thoroughly."""

    request: Request | None = None
    """The member whose reward decides, the largest under its budget; None: under twice the MACs."""
    num_survivors: int = 6
    """Directions of growth that are trained, the ladder's among them."""
    num_trainings: int = 2
    """Of each, with different seeds."""


def fit_growth(
    run: Run,
    planner: Planner,
    plan: FitPlan,
    *,
    on_progress: OnProgress,
    make_executor: MakeExecutor = make_executor,
) -> tuple[Coefficients | None, Fit]:
    """Find the coefficients whose network has the best reward; done again on the same run it goes on.

    Args:
        run: Its images, training and target device judge.
        planner: Of the family, with growth along the ladder.
        plan: What is fitted.
        on_progress: Is told how far it is.
        make_executor: Runs the trainings.

    Returns:
        The coefficients, None where growth along the ladder is not beaten beyond doubt; and what was found.

    Raises:
        ValueError: If step times are unknown.
        RefusedError: If no survivor could be trained.
        InterruptedFitError: If a stop was requested.
    """
    candidates = fit_candidates(
        coefficient_grid(),
        lambda coefficients: replace(planner, coefficients=coefficients).grown(plan.request),
        planner.costs,
        run.reward(),
    )
    if plan.request is None:
        candidates = of_like_macs(candidates)
    survivors = choose_survivors(candidates, plan.num_survivors)
    trainings = [
        FitTraining(architecture=str(each.architecture), train_size=_train_size(each, planner, run), replicate=number)
        for number in range(plan.num_trainings)
        for each in survivors
    ]
    evaluations, failed = _train(run, trainings, on_progress, make_executor)
    entries = rank_survivors(survivors, evaluations, run.reward())
    if not entries:
        raise RefusedError(f"no scaled network could be trained: {failed[0] if failed else 'none is there'}")
    chosen = chosen_entry(entries).coefficients
    fit = Fit(
        num_candidates=len(candidates), entries=tuple(entries), is_decided=chosen is not None, failed=tuple(failed)
    )
    return chosen, fit


def _train_size(candidate: FitCandidate, planner: Planner, run: Run) -> int:
    """The fidelity's size, grown as the candidate's own size is."""
    network, architecture = planner.start.network, candidate.architecture
    size = run.config.fidelity.resolution or network.resolution
    return max(architecture.total_stride, round(size * architecture.resolution / network.resolution))


def _train(
    run: Run, trainings: Sequence[FitTraining], on_progress: OnProgress, make_executor: MakeExecutor
) -> tuple[dict[str, list[Evaluation]], list[str]]:
    """Evaluations by architecture, and why others have none."""

    with run.directory.locked() as lock, stop_on_signals() as stop_requested:
        study = open_study(run.directory, run.config, lock)
        loop = FitLoop(
            study,
            trainings,
            config=run.config,
            preparation=run.preparation,
            on_progress=on_progress,
            log_death=lambda plan, death: run.directory.log_error(
                f"fit {plan.architecture}", death.reason, death.traceback
            ),
        )
        executor = make_executor(_at_own_size(run.config))
        try:
            is_done = dispatch(loop, executor, stop_requested=stop_requested, on_drain=lambda running: None)
        finally:
            executor.close()
        if not is_done:
            raise InterruptedFitError
        return _found(study, trainings)


def _at_own_size(config: SearchConfig) -> SearchConfig:
    """Scaled networks are timed at their own sizes."""
    return config.model_copy(update={"step_time": config.step_time.model_copy(update={"resolution": None})})


def _found(study: optuna.Study, trainings: Sequence[FitTraining]) -> tuple[dict[str, list[Evaluation]], list[str]]:
    known = read_fit_evaluations(study)
    good: dict[str, list[Evaluation]] = defaultdict(list)
    failed = []
    for training in trainings:
        result = known.get((training.architecture, training.replicate))
        if isinstance(result, Evaluation):
            good[training.architecture].append(result)
        elif result is not None:
            failed.append(f"{training.architecture}: {result}")
    return good, failed
