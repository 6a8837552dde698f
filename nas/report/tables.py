"""The report's tables: leaderboard, stages, references, what was not judged, and the circumstances."""

from collections.abc import Sequence

from search_spaces.architecture import Architecture, parse
from search_spaces.stage_table import StageRow, stage_rows

from ..comparison import flatten
from ..leaderboard import Entry
from ..quantities import count, duration, milliseconds, percent, reward_text, step_time_text
from ..trials import TrialRecord
from .findings import Findings
from .markup import Markup, details, element, section, table, text_form
from .ribbon import ribbon
from .step_times import step_time_paragraphs

# Rows of the leaderboard that are seen at once, and at all; more are in trials.csv.
NUM_FIRST = 15
MAX_ROWS = 1000


def leaderboard_section(findings: Findings) -> Markup:
    """Every judged architecture with all its figures."""
    board = findings.board
    note = (
        "A, S and reward ± standard error. ≈ before S: predicted, not measured. = before a rank: not distinguishable "
        "from the first at 95 %. Leaders that were trained again stand first, because the best of many single "
        "trainings is partly luck."
    )
    content = [element("p", note), _leaderboard(board[:NUM_FIRST])]
    if len(board) > NUM_FIRST:
        last = min(len(board), MAX_ROWS)
        rest = "" if last == len(board) else f" of {len(board)}; the others are in trials.csv"
        content.append(details(f"Ranks {NUM_FIRST + 1} to {last}{rest}", _leaderboard(board[NUM_FIRST:last])))
    return section("leaderboard", "Leaderboard", *content)


def architectures_section(findings: Findings) -> Markup:
    """The leaders and the backbone, stage by stage."""
    cards = [_card(entry, is_open=entry is findings.best) for entry in findings.leaders]
    return section("architectures", "The leaders, stage by stage", *cards, *_references(findings), *_front(findings))


def pruned_section(findings: Findings) -> Markup:
    """Candidates whose training was stopped early, and what that saved; nothing where there are none."""
    saved = findings.savings
    if saved is None:
        return Markup("")
    note = f"{saved.text}."
    if saved.saved_s is not None and saved.whole_s:
        note += f" That is about {duration(saved.saved_s)} of {duration(saved.whole_s)} in training steps."
    epochs = findings.run.config.fidelity.epochs
    rows = [_pruned_row(record, epochs) for record in findings.pruned]
    content = [element("p", note, " The accuracy after fewer epochs compares with no other, so it is not ranked.")]
    if rows:
        shown = table(("trial", "epochs", "reason", "architecture"), rows, numeric=(0, 1))
        content.append(shown if len(rows) <= NUM_FIRST else details(f"{len(rows)} pruned candidates", shown))
    return section("pruned", "Pruned", *content)


def unjudged_section(findings: Findings) -> Markup:
    """Infeasible and failed trials with their reasons; nothing where there are none."""
    if not findings.unjudged:
        return Markup("")
    rows = [_unjudged_row(record) for record in findings.unjudged]
    note = (
        "Infeasible: the candidate cannot be judged here, and the sampler learns that. Failed: an attempt died, which "
        "says nothing about the candidate, so it is tried again."
    )
    return section(
        "unjudged",
        "Infeasible and failed",
        element("p", note),
        table(("trial", "state", "reason", "architecture"), rows, numeric=(0,)),
    )


def circumstances_section(findings: Findings) -> Markup:
    """What was measured before the first trial, the configuration and the environment."""
    run = findings.run
    modes = sorted(run.preparation.mode_seconds.items(), key=lambda item: item[1])
    fastest = modes[0][1] if modes else 1.0
    rows = [
        (
            mode + (" (used)" if mode == run.preparation.mode else ""),
            milliseconds(seconds),
            f"{seconds / fastest:.2f} ×",
        )
        for mode, seconds in modes
    ]
    chosen = (
        f"Of the execution modes that gave correct results, the fastest for the backbone's training step was taken: "
        f"{run.preparation.mode}. The step whose time counts runs in {run.preparation.step_mode}."
    )
    environment = [(key, str(value)) for key, value in flatten(run.environment).items()]
    return section(
        "circumstances",
        "Circumstances",
        element("p", chosen),
        *step_time_paragraphs(findings),
        table(("execution mode", "step of the backbone", "beside the fastest"), rows, numeric=(1, 2)),
        details("Configuration", element("pre", run.config.to_yaml(), tabindex=0)),
        details("Environment", table(("", ""), environment)),
    )


def reading_section(findings: Findings) -> Markup:
    """How to read the figures, with what they cannot say."""
    preparation, timing = findings.run.preparation, findings.run.config.step_time
    size = timing.resolution or findings.space.resolution
    points = (
        (
            "A is not a final accuracy.",
            f"It is top-1 on {preparation.data.num_minival} minival images after a short training. It serves to rank "
            "architectures; a full training reaches more, and may rank close ones otherwise. The test split was not "
            "read.",
        ),
        (
            "A has an error.",
            "± is one standard error: the luck of a finite set of images, and that of the training seed, as the "
            "architectures that were trained several times show it. Where none was, only the first is counted.",
        ),
        (
            "S is a whole training step,",
            f"forward, loss, backward and optimizer, of the target training: batch {timing.batch_size}, {size} pixels, "
            f"{preparation.step_mode}. What is measured is timed in alternation with a fixed network, the canary, so "
            "that neighbours and clocks slow both alike; ± is the standard error of the measurement or, marked ≈, of "
            "the prediction. The backbone's, to which the reward relates, is "
            f"{milliseconds(preparation.step_time_ref_s)}. On another device it may rank otherwise.",
        ),
        (
            "Ties are real.",
            "What is marked = cannot be told from the first at 95 %. Take whichever suits you, or train both.",
        ),
    )
    items = [element("li", element("strong", head), " ", text) for head, text in points]
    return section("reading", "How to read this", element("ul", *items))


def _leaderboard(entries: Sequence[Entry]) -> Markup:
    headers = ("rank", "trial", "", "A", "trainings", "S", "P", "MACs", "reward", "> backbone")
    texts = [text_form(entry.architecture) for entry in entries]
    return table(headers, map(_leaderboard_row, entries), numeric=(0, 1, 3, 4, 5, 6, 7, 8), notes=texts)


def _leaderboard_row(entry: Entry) -> tuple[str, ...]:
    verdict = "backbone" if entry.is_backbone else entry.better_than_backbone or "–"
    return (
        f"{'= ' if entry.tied else ''}{entry.rank}",
        str(entry.number),
        ribbon(parse(entry.architecture), small=True),
        percent(entry.accuracy, entry.accuracy_se),
        str(entry.num_trainings),
        step_time_text(entry),
        count(entry.params),
        count(entry.macs),
        reward_text(entry.reward, entry.reward_se),
        element("span", verdict, class_=f"answer {verdict}"),
    )


def _pruned_row(record: TrialRecord, num_epochs: int) -> tuple[str, ...]:
    number, _, reason, architecture = _unjudged_row(record)
    return number, f"{record.partial.epochs if record.partial else 0} of {num_epochs}", reason, architecture


def _unjudged_row(record: TrialRecord) -> tuple[str, ...]:
    architecture = text_form(record.candidate.architecture) if record.candidate else "–"
    return str(record.number), str(record.state), record.reason or "–", architecture


def _card(entry: Entry, *, is_open: bool) -> Markup:
    architecture = parse(entry.architecture)
    name = "backbone" if entry.is_backbone else f"trial {entry.number}"
    figures = f"A {percent(entry.accuracy)} · S {milliseconds(entry.step_time_s)} · P {count(entry.params)}"
    summary = element(
        "summary",
        element("span", f"{entry.rank}", class_="rank"),
        element("span", name, class_="name"),
        ribbon(architecture, small=True),
        element("span", figures, class_="soft"),
    )
    return element(
        "details",
        summary,
        _stages(architecture),
        text_form(entry.architecture),
        class_="card",
        open="" if is_open else None,
    )


def _stages(architecture: Architecture) -> Markup:
    headers = ("stage", "block", "layers", "channels", "stride", "SE", "output")
    return table(headers, [_stage_row(row) for row in stage_rows(architecture)], numeric=(2, 3, 4, 5, 6))


def _stage_row(row: StageRow) -> tuple[str, ...]:
    se = f"{row.se_ratio:g}" if row.se_ratio else "–"
    size = f"{row.size} × {row.size}"
    return row.stage, row.block, str(row.layers), str(row.channels), str(row.stride), se, size


def _references(findings: Findings) -> list[Markup]:
    """Published networks in the space: for orientation, never where a search starts."""
    if not findings.references:
        return []
    rows = [
        (r.name, count(r.params), count(r.macs), f"rank {r.entry.rank}" if r.entry else "not judged")
        for r in findings.references
    ]
    note = "Published networks that lie in this space, for orientation; the search does not start from them."
    return [
        element("h3", "References"),
        element("p", note),
        table(("network", "P", "MACs", "in this run"), rows, numeric=(1, 2)),
    ]


def _front(findings: Findings) -> list[Markup]:
    """The Pareto front, where the search was for one."""
    if not findings.run.config.objectives:
        return []
    rows = [
        (
            str(entry.number),
            percent(entry.accuracy, entry.accuracy_se),
            step_time_text(entry),
            count(entry.params),
            text_form(entry.architecture),
        )
        for entry in findings.front
    ]
    return [
        element("h3", "The Pareto front"),
        table(("trial", "A", "S", "P", "architecture"), rows, numeric=(0, 2, 3)),
    ]
