"""Where a search stands and what it owes, derived from its study alone, so that asking twice changes nothing."""

from collections.abc import Iterator, Sequence

import optuna

from search_spaces.architecture import parse
from search_spaces.space import SearchSpace

from .trials import DAMAGED, DRIVER_DIED, Candidate, State, TrialRecord, enqueue, fail_orphan, read_records

INTERRUPTED = "interrupted"
NODE_LOST = "its machine was lost"
MAX_LOST_NODES = 10
"""After so many lost machines in a row it is hard to believe that the candidate has nothing to do with it."""
MAX_INTERRUPTIONS = 50
"""After so many interruptions, those of whole searches among them, it is not worth another attempt."""

# The end of the driver, of a machine or of a file says nothing about the candidate, so it does not count against it.
_INNOCENT = (DRIVER_DIED, INTERRUPTED, NODE_LOST, DAMAGED)


def recover(study: optuna.Study, space: SearchSpace) -> list[TrialRecord]:
    """Bring a study that a dead driver left behind in order: nothing runs, and what is owed waits.

    Returns:
        The trials as they are afterwards.
    """
    for record in read_records(study):
        if record.state is State.RUNNING:
            fail_orphan(study, record.number)
    enqueue_owed(study, space)
    return read_records(study)


def enqueue_owed(study: optuna.Study, space: SearchSpace) -> None:
    """Let every candidate whose attempt died, and that has no further attempt yet, wait for one."""
    for record in owed(read_records(study)):
        if record.candidate is not None:
            architecture = record.candidate.architecture
            continues = record.candidate.continues
            again = Candidate(architecture=architecture, proposal=None, retry_of=record.number, continues=continues)
            enqueue(study, space.to_params(parse(architecture)), again)


def owed(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Attempts that died and have no child.

    Duplicates are owed nothing: the sampler meets the known result when it proposes the architecture again.
    """
    candidates = [record.candidate for record in records if record.candidate is not None]
    # What went on from a pruned trial is its child, too, should the pruned one be lost.
    retried = {each.retry_of for each in candidates} | {each.continues for each in candidates}
    return [
        record
        for record in records
        if record.state is State.FAILED
        and record.candidate is not None
        and record.candidate.duplicate_of is None
        and record.number not in retried
    ]


def deaths(candidate: Candidate, records: Sequence[TrialRecord]) -> int:
    """How many earlier attempts of this candidate ended with their worker's death.

    Args:
        candidate: What the attempt in question is about.
        records: All trials, in the order of their numbers.
    """
    return sum(reason not in _INNOCENT for reason in _earlier_ends(candidate, records))


def ended_too_often(candidate: Candidate, reason: str, records: Sequence[TrialRecord]) -> str | None:
    """Whether an attempt that ended through no fault of its own was one too many, in plain words.

    Args:
        candidate: As of `deaths`.
        reason: `INTERRUPTED` or `NODE_LOST`.
        records: As of `deaths`.
    """
    limit = MAX_LOST_NODES if reason == NODE_LOST else MAX_INTERRUPTIONS
    count = 1 + sum(earlier == reason for earlier in _earlier_ends(candidate, records))
    what = "lost its machine" if reason == NODE_LOST else "was interrupted"
    return f"{what} {count} times" if count > limit else None


def _earlier_ends(candidate: Candidate, records: Sequence[TrialRecord]) -> Iterator[str | None]:
    parent = candidate.retry_of
    while parent is not None:
        record = records[parent]
        yield record.reason
        parent = record.candidate.retry_of if record.candidate else None


def next_proposal(records: Sequence[TrialRecord]) -> int:
    """The first index that no proposal has used up.

    A duplicate whose driver died before it was told has left the sampler nothing: it is proposed again.
    """
    spent = [
        record.candidate.proposal
        for record in records
        if record.candidate is not None
        and record.candidate.proposal is not None
        and (record.candidate.duplicate_of is None or record.state is not State.FAILED)
    ]
    return 1 + max(spent, default=-1)


def duplicates_at_the_end(records: Sequence[TrialRecord]) -> int:
    """How many of the newest proposals in a row were known, so that an exhausted search is so when it is resumed."""
    count = 0
    for record in reversed(records):
        if record.candidate is None or record.candidate.duplicate_of is None:
            break
        count += 1
    return count
