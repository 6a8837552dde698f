"""Checks of the files around a study: configuration, views, checkpoints of trials, the log of deaths."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from search_spaces.messages import first_line

from ..config import SearchConfig, make_config
from ..pruning import may_go_on
from ..run import Run, read_environment
from ..run_directory import RunDirectory, RunDirectoryError, write_whole
from ..trial_checkpoints import checkpoint_folder, kept_training
from ..trials import read_fingerprint, read_preparation
from ..views import view_texts
from .case import Case
from .checkpoint_files import checkpoint_damage
from .findings import Finding, Repair, error, note, warning

_DEATH = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?P<task>(trial|fit|finalist|calibration)[^:]*): (?P<reason>.+)$")


def config_is_whole(case: Case) -> Iterator[Finding]:
    """A configuration that is missing or cannot be read; the study knows what it was started with."""
    directory = case.directory
    if not isinstance(case.config, str) or not directory.study_file.exists():
        return
    started_with = read_fingerprint(case.study) if case.study is not None else None
    what = case.config if directory.config_file.exists() else "is missing"
    if started_with is None:
        yield error(directory.config_file.name, what, "put a copy back, or search again with the same recipe")
        return
    yield error(
        directory.config_file.name,
        what,
        "search again with the same recipe and flags; --repair makes it from the study, with defaults for the rest",
        Repair(mend=partial(_restore_config, directory, started_with), files=(directory.config_file,)),
    )


def config_asks_the_same(case: Case) -> Iterator[Finding]:
    """A configuration that was changed under a study."""
    started_with = read_fingerprint(case.study) if case.study is not None else None
    if isinstance(case.config, str) or started_with is None or case.difference is None:
        return
    repair = partial(_put_back, case.directory, case.config, started_with)
    yield error(
        case.directory.config_file.name,
        case.difference,
        "the search refuses to go on; --repair puts back what the study was started with",
        Repair(mend=repair, files=(case.directory.config_file,)),
    )


def views_are_up_to_date(case: Case) -> Iterator[Finding]:
    """Views that are missing, damaged or older than the study; a running search writes them once a minute."""
    if isinstance(case.run, str) or case.is_driven or case.difference is not None:
        return
    for path, text in view_texts(case.run):
        if (found := _text(path)) != text:
            yield warning(
                path.name,
                "is missing" if found is None else "does not show what the study holds",
                "it is written again when the search goes on",
                Repair(mend=partial(_write, path, text), files=(path,)),
            )


def environment_is_readable(case: Case) -> Iterator[Finding]:
    """What was noted of the machine."""
    path = case.directory.environment_file
    if case.study is None:
        return
    try:
        is_missing = not read_environment(path)
    except RunDirectoryError as damage:
        yield error(
            path.name,
            first_line(damage),
            "remove it; the next start of the search writes it anew",
            Repair(mend=partial(_remove, path), files=(path,)),
        )
        return
    if is_missing:
        yield note(path.name, "is missing", "the next start of the search writes it")


def family_is_readable(case: Case) -> Iterator[Finding]:
    """What `nas scale` made of it."""
    if not isinstance(case.run, str) and isinstance(case.run.family, str):
        yield warning(case.directory.family_file.name, case.run.family, "nas scale writes it again")


def run_is_readable(case: Case) -> Iterator[Finding]:
    """Whatever else keeps reports from being written."""
    if not isinstance(case.run, str) or not case.records or isinstance(case.config, str) or case.study is None:
        return
    if read_preparation(case.study) is None:
        yield note("study.db", "knows no reference step time", "it is measured when the search goes on")
    else:
        yield error(".", case.run, "reports cannot be written")


def trial_checkpoints_are_needed(case: Case) -> Iterator[Finding]:
    """States of short trainings that nobody goes on from, or nobody can."""
    if isinstance(case.run, str) or case.is_driven:
        return
    folder = checkpoint_folder(case.run.config.model_copy(update={"out": case.directory.path}))
    files = sorted(folder.glob("*.pt"))
    judged = _names_of_judged(case.run)
    for file in files:
        name = str(file.relative_to(case.directory.path))
        if file.name in judged:
            yield warning(
                name, "the training it is of has its verdict", "remove it", Repair(mend=partial(_remove, file))
            )
        elif (damage := checkpoint_damage(file)) is not None:
            yield warning(
                name, damage, "remove it; the training begins anew", Repair(mend=partial(_remove, file), files=(file,))
            )


def deaths_are_few(case: Case) -> Iterator[Finding]:
    """A digest of the log of deaths."""
    deaths = [match for line in (_text(case.directory.errors_file) or "").splitlines() if (match := _DEATH.match(line))]
    if not deaths:
        return
    task, times = Counter(match["task"] for match in deaths).most_common(1)[0]
    reason, of_them = Counter(match["reason"] for match in deaths).most_common(1)[0]
    yield note(
        case.directory.errors_file.name,
        f"{len(deaths)} deaths; most often of {task} ({times}); most often: {reason[:120]} ({of_them})",
        "it holds what each of them said",
    )


def _restore_config(directory: RunDirectory, started_with: dict[str, object]) -> str:
    known = {name: value for name, value in started_with.items() if name in SearchConfig.model_fields}
    config = make_config(known, {"out": directory.path}, source="the study")
    write_whole(directory.config_file, config.to_yaml())
    others = ", ".join(f"{name} {getattr(config, name)}" for name in ("trials", "finalists", "workers"))
    return f"made from the study; the rest are defaults, which may be changed: {others}"


def _put_back(directory: RunDirectory, config: SearchConfig, started_with: dict[str, object]) -> str:
    overrides = {
        f"{name}.{key}" if isinstance(value, dict) and name != "space" else name: inner
        for name, value in started_with.items()
        for key, inner in (value.items() if isinstance(value, dict) and name != "space" else [("", value)])
    }
    before = make_config(config.model_dump(mode="json"), overrides, source="the study")
    write_whole(directory.config_file, before.to_yaml())
    return "asks again what the study was started with"


def _names_of_judged(run: Run) -> set[str]:
    own = [
        (record.candidate.architecture, 0)
        for record in run.records
        if record.is_judged and record.candidate and not may_go_on(record, run.config)
    ]
    architectures = {record.number: record.candidate.architecture for record in run.records if record.candidate}
    # Of a trial that was lost with its architecture, further trainings may be known.
    again = [
        (architectures[number], place)
        for number, places in run.replicates.items()
        for place in places
        if number in architectures
    ]
    return {kept_training(run.config, *training).file_name(run.config) for training in own + again}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
    except UnicodeDecodeError:
        return ""


def _write(path: Path, text: str) -> str:
    write_whole(path, text)
    return "written again"


def _remove(path: Path) -> str:
    path.unlink(missing_ok=True)
    return "removed"
