"""What is tried next: what waits in the study, else what the sampler proposes."""

from collections import Counter
from collections.abc import Callable, Sequence

import optuna
from optuna.samplers import BaseSampler

from proxies.seeds import derived_seed
from search_spaces.space import SearchSpace

from .driver_storage import ask
from .recovery import duplicates_at_the_end, enqueue_owed, next_proposal
from .trials import Candidate, State, TrialRecord, candidate_of, distributions, enqueue, write_candidate


class Proposals:
    """Asks a study for candidates, and knows what waits there.

    Attributes:
        repeats: How many proposals in a row were known already.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        *,
        seed: int,
        records: Sequence[TrialRecord],
        original: Callable[[str], int | None],
    ) -> None:
        """
        Args:
            study: To which nobody else writes.
            space: Of its candidates; the backbone comes first.
            seed: Of the search.
            records: The study's trials.
            original: The trial that has judged, or is judging, an architecture; None where it is new.
        """
        self._study, self._space, self._seed, self._original = study, space, seed, original
        self._distributions = distributions(space)
        self._next_proposal = next_proposal(records)
        self._waiting = Counter(is_promoted(record.candidate) for record in records if record.state is State.WAITING)
        """By whether they are promoted."""
        self.repeats = duplicates_at_the_end(records)
        if self._next_proposal == 0:
            backbone = space.backbone
            enqueue(study, space.to_params(backbone), Candidate(architecture=str(backbone), proposal=0))
            self._next_proposal = 1
            self._waiting[False] += 1

    @property
    def num_waiting(self) -> int:
        """Candidates that are to be tried whatever the sampler says."""
        return self._waiting.total()

    @property
    def num_promoted(self) -> int:
        """Those among the waiting that go on from a pruned trial."""
        return self._waiting[True]

    def take(self, sampler_of: Callable[[int], BaseSampler]) -> tuple[optuna.Trial, Candidate]:
        """What waits, or a new proposal.

        Args:
            sampler_of: Makes the sampler of a proposal from its seed.
        """
        self._study.sampler = sampler_of(derived_seed(self._seed, "proposal", self._next_proposal))
        trial = ask(self._study, self._distributions)
        candidate = candidate_of(trial)
        if candidate is None:
            candidate = self._name(trial)
        else:
            self._waiting[is_promoted(candidate)] -= 1
        return trial, candidate

    def promote(self, record: TrialRecord) -> None:
        """Let a pruned candidate wait to go on."""
        if record.candidate is None:
            raise ValueError(f"only a candidate goes on, got trial {record.number} without one")
        again = Candidate(architecture=record.candidate.architecture, proposal=None, continues=record.number)
        enqueue(self._study, record.params, again)
        self._waiting[True] += 1

    def try_again(self, candidate: Candidate) -> None:
        """Let a candidate whose attempt has failed wait for the next one."""
        enqueue_owed(self._study, self._space)
        self._waiting[is_promoted(candidate)] += 1

    def _name(self, trial: optuna.Trial) -> Candidate:
        architecture = str(self._space.from_params(trial.params))
        candidate = Candidate(
            architecture=architecture, proposal=self._next_proposal, duplicate_of=self._original(architecture)
        )
        write_candidate(trial, candidate)
        self._next_proposal += 1
        return candidate


def is_promoted(candidate: Candidate | None) -> bool:
    """Whether it goes on from a pruned trial, and so is counted already."""
    return candidate is not None and candidate.continues is not None
