"""The head of the report: what was found, how sure that is, and under which circumstances."""

from search_spaces.architecture import parse

from ..leaderboard import Entry
from ..quantities import count, duration, milliseconds, percent, reward_text
from ..trials import State
from .findings import Findings
from .markup import Markup, copyable, element, facts, join, tiles
from .ribbon import ribbon, ribbon_legend
from .step_times import step_time_origin, surprises

_REF = element("sub", "ref")


def headline(findings: Findings) -> Markup:
    """Title, state, the best architecture with its figures, and the facts of the run."""
    return join([_title(findings), _best(findings), _facts(findings)])


def state_text(findings: Findings) -> str:
    """Whether the search is complete, and if not, how far it came."""
    if findings.is_complete:
        return "complete"
    return f"{len(findings.judged)} of {findings.run.config.trials} judged"


def _title(findings: Findings) -> Markup:
    config, preparation = findings.run.config, findings.run.preparation
    badge = element("span", state_text(findings), class_="badge done" if findings.is_complete else "badge open")
    done = f"{len(findings.judged)} architectures" if findings.is_complete else "running or interrupted"
    line = f"{done} · {duration(findings.elapsed_s)} · {preparation.device}"
    return element(
        "header",
        element("p", "Training-aware architecture search", class_="kicker"),
        element("h1", findings.space.name, element("span", " on ", class_="soft"), preparation.data.source),
        element("p", badge, " ", line, class_="meta"),
        *([element("p", f"Objectives: {', '.join(config.objectives)}.", class_="meta")] if config.objectives else []),
    )


def _best(findings: Findings) -> Markup:
    best = findings.best
    if best is None:
        return element("section", element("p", "No architecture has been judged to the end yet."), class_="hero")
    by = " by reward" if findings.run.config.objectives else ""
    return element(
        "section",
        element("h2", f"Best architecture{by} ", element("span", f"trial {best.number}", class_="soft")),
        _verdict(findings, best),
        *(element("p", line, class_="verdict") for line in surprises(findings)),
        ribbon(parse(best.architecture)),
        ribbon_legend(),
        copyable(best.architecture),
        _tiles(findings, best),
        class_="hero",
    )


def _verdict(findings: Findings, best: Entry) -> Markup:
    ties = sum(entry.tied for entry in findings.board)
    tied = {0: "No other is tied with it.", 1: "One other is tied with it."}.get(
        ties, f"{ties} others are tied with it: at 95 % their rewards cannot be told from its own."
    )
    backbone, answer = findings.backbone, best.better_than_backbone
    if backbone is best:
        return element("p", "The backbone itself leads. ", tied, class_="verdict")
    if backbone is None or answer is None:
        return element(
            "p", "The backbone was not judged, so there is nothing to compare with. ", tied, class_="verdict"
        )
    rewards = (
        f" (reward {reward_text(best.reward, best.reward_se)} against "
        f"{reward_text(backbone.reward, backbone.reward_se)}). "
    )
    mark = element("strong", answer, class_=f"answer {answer}")
    return element("p", "Better than the backbone: ", mark, rewards, tied, class_="verdict")


def _tiles(findings: Findings, best: Entry) -> Markup:
    reference = findings.reward
    ratio_s, ratio_p = best.step_time_s / reference.step_time_ref_s, best.params / reference.params_ref
    times = f"mean of {best.num_trainings} trainings" if best.num_trainings > 1 else "one training"
    how = "measured" if best.is_step_time_measured else "predicted"
    figures = [
        ("Reward", f"{best.reward:.4f}", f"± {best.reward_se:.4f}"),
        ("Accuracy A", percent(best.accuracy, best.accuracy_se), times),
        ("Step time S", milliseconds(best.step_time_s, best.step_time_se), f"{how}, {ratio_s:.2f} × the backbone"),
        ("Parameters P", count(best.params), f"{ratio_p:.2f} × the backbone"),
        ("MACs", count(best.macs), f"at {parse(best.architecture).resolution} pixels"),
    ]
    return tiles(figures)


def _facts(findings: Findings) -> Markup:
    config, data = findings.run.config, findings.run.preparation.data
    size = config.fidelity.resolution or findings.space.resolution
    share = "" if config.fidelity.data_share == 1 else f", {config.fidelity.data_share:.0%} of the images"
    texts = {
        "Images": f"{data.source}: {data.num_train} to train, {data.num_minival} to judge, {data.num_classes} classes",
        "Short training": f"{config.fidelity.epochs} epochs at {size} pixels{share}",
        "Step time": step_time_origin(findings),
        "Reward": _formula(findings),
        "Search space": join([f"{findings.space.name}, ", _scientific(findings.space.size), " architectures"]),
        "Sampler": f"{config.sampler}, seed {config.seed}",
        "Trials": _trials(findings),
    }
    return facts(texts)


def _trials(findings: Findings) -> str:
    records = findings.run.records
    repeated = sum(record.candidate is not None and record.candidate.duplicate_of is not None for record in records)
    infeasible = sum(record.state is State.INFEASIBLE for record in findings.judged)
    failed = sum(record.state is State.FAILED for record in records)
    parts = [f"{len(findings.judged)} of {findings.run.config.trials} judged"]
    pruned = len(findings.pruned)
    counted = (
        (pruned, "pruned"),
        (infeasible, "infeasible"),
        (failed, f"failed attempt{'s' * (failed > 1)}"),
        (repeated, "repeated"),
    )
    return ", ".join([*parts, *(f"{number} {word}" for number, word in counted if number)])


def _formula(findings: Findings) -> Markup:
    exponents = [element("sup", f"{value:g}") for value in (findings.reward.w, findings.reward.v)]
    return join(
        ["A · (S ÷ S", _REF, ")", exponents[0], " · (P ÷ P", _REF, ")", exponents[1], ", related to the backbone"]
    )


def _scientific(number: int) -> Markup:
    """A number that is too large to read, as a power of ten."""
    if number < 1_000_000:
        return join([f"{number:,}"])
    mantissa, exponent = f"{number:.1e}".split("e")
    return join([f"{mantissa} × 10", element("sup", str(int(exponent)))])
