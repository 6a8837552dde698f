"""An audit on its directory: opened as a search's is, resumed where it stopped, read back by whoever looks at it."""

from collections.abc import Sequence
from pathlib import Path

from proxies.costs import CostModel
from proxies.step_time_table import StepTimeTable
from search_spaces.architecture import parse

from ..config import SearchConfig
from ..evaluation_tasks import AccuracyRecord, Calibrate, Preparation
from ..executors.choice import make_executor
from ..executors.interface import Died
from ..interruption import stop_on_signals
from ..observer import Observer
from ..opening import InterruptedSearchError, Opening, opened
from ..pricing import make_cost_model, require_tables, reward_of
from ..reward import Reward
from ..run_directory import RunDirectory, RunDirectoryError, write_whole
from ..search import MakeExecutor
from ..search_limits import search_limits
from ..storage import load_study, open_study, require_same_question
from ..survey import Survey, SurveyedSource
from ..trials import read_fingerprint, read_preparation, read_tables_of
from .config import AuditConfig, read_audit_config
from .keeping import read_sample, read_trainings, write_sample
from .loop import AuditLoop
from .results import AuditedArchitecture, AuditResults, Cell, planned_cells, rough_cost
from .sample import spread_sample


class AuditObserver(Observer):
    """Watches an audit and does nothing; a display overrides what it wants to show."""

    def training(self, cell: Cell, doing: str, *, done: float, total: int, share: float) -> None:
        """Something happens to a training; ``done`` of ``total`` are there, a share in [0, 1] of all their work."""


def run_audit(
    config: AuditConfig, *, observer: AuditObserver | None = None, make_executor: MakeExecutor = make_executor
) -> AuditResults:
    """Run an audit, or go on with it where its directory holds one; returns what was found out.

    Args:
        config: What is compared, and where.
        observer: Is told what happens; by default nobody.
        make_executor: Makes what trains.

    Raises:
        ValueError: In one line, if the directory or the images cannot be used as configured.
        InterruptedSearchError: If a stop was requested; what was trained is kept.
    """
    observer, directory = observer or AuditObserver(), RunDirectory(config.out)
    search = search_of(config)
    if not directory.is_started:
        require_tables(search)
    directory.create()
    with directory.locked() as lock, stop_on_signals() as signalled:
        directory.require_free()
        _require_same_audit(directory, config, search)
        study = open_study(directory, search, lock)
        write_whole(directory.config_file, config.to_yaml())
        start = opened(search, directory, study, lock, observer, make_executor=make_executor, stop_requested=signalled)
        with start as opening:
            _train(config, opening, observer)
    return read_audit(directory.path)


def read_audit(path: Path) -> AuditResults:
    """Read an audit's directory.

    Raises:
        RunDirectoryError: If there is no audit there, or nothing has been sampled yet, or its study is damaged.
    """
    directory = RunDirectory(path)
    directory.require_started()
    config = read_audit_config(directory.config_file, {})
    study = load_study(directory)
    preparation, sample = read_preparation(study), read_sample(study)
    if preparation is None or not sample:
        raise RunDirectoryError(f"nothing has been trained yet in {path}")
    search = search_of(config)
    costs = make_cost_model(search, preparation, read_tables_of(study))
    if costs is None:
        raise RunDirectoryError(f"step times are not calibrated yet in {path}")
    reward = reward_of(search, preparation)
    found = read_trainings(study)
    return AuditResults(
        config=config,
        architectures=tuple(_audited(text, costs, reward) for text in sample),
        trainings={cell: result for cell, result in found.items() if isinstance(result, AccuracyRecord)},
        failed={cell: result for cell, result in found.items() if isinstance(result, str)},
        device=preparation.device,
    )


def search_of(config: AuditConfig) -> SearchConfig:
    """The audited search as its workers have it: its images and machine, the target's training, the audit's place."""
    changes = {"fidelity": config.target.fidelity, "seed": config.seed, "out": config.out}
    return config.search.model_copy(update=changes)


def _require_same_audit(directory: RunDirectory, config: AuditConfig, search: SearchConfig) -> None:
    """An audit may grow, by trainings, seeds and architectures; all else would mix two audits.

    Raises:
        RunDirectoryError: If the directory holds another one.
    """
    if not directory.is_started:
        return
    study = load_study(directory)
    sample, started_with = read_sample(study), read_fingerprint(study)
    if not sample or started_with is None:
        return
    require_same_question(started_with, search, directory.path)
    if len(sample) > config.num_architectures:
        raise RunDirectoryError(
            f"{directory.path} has {len(sample)} architectures: num_architectures may not shrink, got "
            f"{config.num_architectures}"
        )


def _train(config: AuditConfig, opening: Opening, observer: AuditObserver) -> None:
    preparation, costs, survey = _prepare(opening)
    architectures = _sample(config, opening, costs)
    planned = planned_cells(config, len(architectures))
    trainings = {training.key: training for training in (config.target, *config.audited)}
    size = config.search.search_space().resolution
    weights = {cell: rough_cost(trainings[cell.training], size) for cell in planned}

    def tell(loop: AuditLoop, cell: Cell, doing: str) -> None:
        missing = sum(weights[plan] * (1 - fraction) for plan, fraction in loop.fractions)
        done = len(planned) - len(loop) + loop.done
        observer.training(cell, doing, done=done, total=len(planned), share=1 - missing / sum(weights.values()))

    def log_death(cell: Cell, death: Died) -> None:
        name = f"{cell.training} of architecture {cell.number}"
        opening.directory.log_error(name, death.reason, death.traceback)

    loop = AuditLoop(
        opening.study,
        planned,
        architectures,
        config=config,
        search=opening.config,
        preparation=preparation,
        on_progress=tell,
        log_death=log_death,
    )
    if not opening.dispatch(SurveyedSource(loop, survey) if survey else loop):
        raise InterruptedSearchError


def _prepare(opening: Opening) -> tuple[Preparation, CostModel, Survey | None]:
    inspection, survey = opening.look_around()
    preparation = opening.prepare(inspection)
    costs = make_cost_model(opening.config, preparation, read_tables_of(opening.study))
    if costs is None:
        table, _ = opening.one(Calibrate(preparation=preparation), StepTimeTable)
        costs = opening.keep_table(preparation, table)
    return preparation, costs, survey


def _sample(config: AuditConfig, opening: Opening, costs: CostModel) -> Sequence[str]:
    """The architectures, the same ones as at earlier starts and, if more are asked for now, more."""
    known = read_sample(opening.study)
    if len(known) == config.num_architectures:
        return known
    space = opening.config.search_space()
    limits = search_limits(opening.config, costs, costs.over(space))
    chosen = spread_sample(space, costs, config.num_architectures, seed=config.seed, limits=limits)
    found = [str(each) for each in chosen]
    if found[: len(known)] != known:
        raise RunDirectoryError(f"{config.out} holds another sample of this space (take another --out)")
    write_sample(opening.study, found)
    return found


def _audited(text: str, costs: CostModel, reward: Reward) -> AuditedArchitecture:
    known = costs(parse(text))
    if known.step_time_s is None:
        raise RunDirectoryError("an audit needs known step times: step_time.method predicted or macs")
    factor = reward.cost_factor(step_time_s=known.step_time_s, params=known.params)
    return AuditedArchitecture(architecture=text, costs=known, reward_factor=factor)
