"""The part of the report that explains the model: what it believes in, what it would train next, how good it is."""

from collections.abc import Sequence

from search_spaces.architecture import parse

from ..opinion import MIN_TRIALS, Opinion, Promise
from ..quantities import count, milliseconds, percent, reward_text
from .exchanges import exchanges_figure
from .figure import Figure, frame
from .findings import Findings
from .held_out import held_out_figure, level_name, ranking_text
from .markup import Markup, breakable, element, table
from .ribbon import ribbon

_LEAST_COVERAGE = 0.9
"""Intervals of 95 % that hold less are called too short."""


def belief_figures(findings: Findings) -> list[Figure]:
    """What is drawn of the model; nothing while it has seen too little."""
    opinion = findings.opinion
    return [] if opinion is None else [exchanges_figure(opinion), held_out_figure(opinion)]


def belief_section(findings: Findings, figures: Sequence[Figure]) -> Markup:
    """The model's choices, its next trainings, and its error.

    Args:
        findings: Of the run.
        figures: Those of `belief_figures`.
    """
    heading, opinion = element("h2", "What the model believes"), findings.opinion
    if opinion is None:
        few = (
            f"The model needs at least {MIN_TRIALS} architectures that were trained to the end; there are "
            f"{len(findings.complete)} so far."
        )
        return element("section", heading, element("p", few), id="belief")
    first, *others = map(frame, figures)
    content = (first, _upcoming(findings, opinion), *others)
    return element("section", heading, _introduction(findings, opinion), *content, id="belief", class_="figures")


def _introduction(findings: Findings, opinion: Opinion) -> Markup:
    sampler = findings.run.config.sampler
    own = (
        "It proposed this run's candidates."
        if sampler == "known-cost"
        else f"The sampler {sampler} proposed this run's candidates; the model learns from them all the same."
    )
    earlier = sum(len(each.members) for each in findings.run.earlier)
    further = f" and the {earlier} results of earlier runs that this one started from" if earlier else ""
    return element(
        "p",
        "The model of the known-cost sampler predicts accuracy, which nothing but training tells, from all "
        f"{len(findings.complete)} candidates that were trained{further}. {own} {_trust(opinion)}",
    )


def _trust(opinion: Opinion) -> str:
    """How far the model can be relied on, in a sentence."""
    found, what = opinion.held_out, level_name(opinion)
    if found.ranking.low <= 0:
        return (
            f"Of {what} it knows little yet: its order of held-out candidates cannot be told from a guess "
            f"({ranking_text(found)}), so that what it says rests on the known costs."
        )
    bars = (
        f" Its 95 % intervals hold only {100 * found.coverage:.0f} % of what was measured: read all bars as too short."
        if found.coverage < _LEAST_COVERAGE
        else ""
    )
    return f"It ranks candidates by {what} without having seen them with {ranking_text(found)}.{bars}"


def _upcoming(findings: Findings, opinion: Opinion) -> Markup:
    """The table of what it would train next."""
    title = element("h3", "What it would train next")
    if not opinion.upcoming:
        none = "Nothing: every architecture of the space within the limits is judged or running."
        return element("figure", title, element("p", none), class_="wide")
    headers = ["", _level_header(opinion), "S", "P", "MACs", *([] if opinion.is_of_accuracy else ["reward"]), "chance"]
    rows = [_row(each, opinion) for each in opinion.upcoming]
    notes = [element("code", breakable(each.architecture), class_="architecture") for each in opinion.upcoming]
    return element(
        "figure",
        title,
        table(
            ["", *headers],
            [(str(place), *row) for place, row in enumerate(rows, start=1)],
            numeric=range(2, len(headers) + 1),
            notes=notes,
        ),
        element("figcaption", _upcoming_caption(opinion)),
        class_="wide",
    )


def _level_header(opinion: Opinion) -> str:
    name = level_name(opinion)
    return "A" if name == "accuracy" else name


def _row(promise: Promise, opinion: Opinion) -> tuple[str, ...]:
    reward = reward_text(promise.accuracy * promise.factor, promise.accuracy_se * promise.factor)
    step_time = promise.step_time_s
    return (
        ribbon(parse(promise.architecture), small=True),
        percent(promise.accuracy, promise.accuracy_se),
        "unknown" if step_time is None else f"≈ {milliseconds(step_time, promise.step_time_se)}",
        count(promise.params),
        count(promise.macs),
        *([] if opinion.is_of_accuracy else [reward]),
        _chance_text(promise.chance),
    )


def _chance_text(chance: float) -> str:
    if 0.005 <= chance <= 0.995:
        return f"{100 * chance:.0f} %"
    return "> 99 %" if chance > 0.5 else "< 1 %"


def _upcoming_caption(opinion: Opinion) -> str:
    number = opinion.records[opinion.favourite].number
    better = sum(each.chance > 0.5 for each in opinion.upcoming)
    believed = {0: "none of these", len(opinion.upcoming): "all of these"}.get(better, f"{better} of these")
    if opinion.is_of_accuracy:
        chance, claim = "that nothing trained that costs no more is as accurate", "to widen the Pareto front"
    else:
        chance = f"that its reward is higher than that of trial {number}, once noise is averaged out"
        claim = f"to be better than trial {number}"
    return (
        "Untrained architectures in the order of their expected improvement, which weighs what is likely good with "
        f"what is still open. Chance: the probability {chance}. The model believes {believed} {claim}. "
        "± is one standard error of the prediction."
    )
