"""The study's storage in the driver, which alone writes it: what Optuna does for the sake of other writers is left out.

Optuna commits each parameter of a proposal by itself, with two queries before, and reads all running trials again
whenever somebody looks at the study. With 128 workers that is most of a driver's time.
"""

import inspect
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError


def ask(study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> optuna.Trial:
    """As `Study.ask`; a `DriverStorage` writes all parameters at once."""
    storage = getattr(study._storage, "_backend", None)
    if not isinstance(storage, DriverStorage):
        return study.ask(dict(distributions))
    with storage.together():
        return study.ask(dict(distributions))


_RELIES_ON = {
    "_set_trial_param": ("trial_id", "param_name", "param_value_internal", "distribution", "previous_distribution"),
    "_get_trials": ("study_id", "states", "included_trial_ids", "trial_id_greater_than"),
    "_create_new_trial": ("study_id", "template_trial"),
}
"""Methods of Optuna's that are its own affair, with their arguments, as of Optuna 5.0."""


def fits_optuna() -> bool:
    """Whether Optuna is still made as `DriverStorage` expects it; if not, its own storage does the same, slower."""
    return find_spec("optuna.storages._rdb.models") is not None and all(
        hasattr(RDBStorage, name) and tuple(inspect.signature(getattr(RDBStorage, name)).parameters)[1:] == arguments
        for name, arguments in _RELIES_ON.items()
    )


class DriverStorage(RDBStorage):
    """Optuna's storage for a process that knows all it has written; the file is the same."""

    def __init__(self, url: str, *, engine_kwargs: dict[str, Any]) -> None:
        self._held: list[dict[str, Any]] | None = None
        """Parameters to be written; None where each is written at once."""
        self._changed: set[int] = set()
        """Trials, by their ids, that Optuna's cache has not read since they were written."""
        super().__init__(url, engine_kwargs=engine_kwargs)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write the parameters that are set meanwhile in one transaction, at the end.

        Raises:
            StorageInternalError: If they cannot be written.
        """
        self._held = []
        try:
            yield
            self._write_held()
        finally:
            self._held = None

    def _write_held(self) -> None:
        if not self._held:
            return
        from optuna.storages._rdb import models

        held, self._held = self._held, []
        try:
            with self.scoped_session() as session, session.begin():
                session.execute(sqlalchemy.insert(models.TrialParamModel), held)
        except SQLAlchemyError as error:
            raise StorageInternalError("the parameters of a trial cannot be written") from error

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        self._changed.add(trial_id)
        # What the study has seen of a parameter before is looked up once.
        if self._held is None or previous_distribution is None:
            super()._set_trial_param(trial_id, param_name, param_value_internal, distribution, previous_distribution)
            return
        check_distribution_compatibility(previous_distribution, distribution)
        self._held.append(
            {
                "trial_id": trial_id,
                "param_name": param_name,
                "param_value": param_value_internal,
                "distribution_json": distribution_to_json(distribution),
            }
        )

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """What Optuna's cache asks for, less what it has read already."""
        self._write_held()
        if trial_id_greater_than < 0:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        changed, self._changed = self._changed, set()
        return super()._get_trials(study_id, states, changed, sys.maxsize) if changed else []

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        trial = super()._create_new_trial(study_id, template_trial)
        self._changed.add(trial._trial_id)
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._changed.add(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._changed.add(trial_id)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._changed.add(trial_id)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._changed.add(trial_id)
        super().set_trial_system_attr(trial_id, key, value)
