"""The report of an audit: one HTML file that asks no network."""

from collections.abc import Sequence
from pathlib import Path

from proxies.ranking import Ranking

from ..audit.advice import (
    cost_text,
    describe,
    exponents_text,
    found_text,
    noise_text,
    sample_text,
    search_text,
    tau_text,
    verdict,
)
from ..audit.analysis import Analysis
from ..audit.early_stops import EarlyStop
from ..audit.standing import Standing
from ..audit.views import fragment
from ..quantities import count, duration, percent
from ..run_directory import write_whole
from .audit_figures import audit_figures
from .markup import Markup, details, element, facts, join, section, table, text_form, tiles
from .page import assemble, figures_section


def write_audit_page(analysis: Analysis, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, render_audit(analysis))


def render_audit(analysis: Analysis) -> str:
    """The page as HTML."""
    figures = audit_figures(analysis)
    body = join(
        [
            _title(analysis),
            _recommended(analysis),
            _facts(analysis),
            *([figures_section(figures)] if figures else []),
            _proxies(analysis),
            *_stops(analysis.stops),
            _reading(analysis),
            _sample(analysis),
            *_failures(analysis),
            _circumstances(analysis),
        ]
    )
    return assemble(f"Audit on {analysis.results.config.search.data.source} ({_state(analysis)})", body, figures)


def _state(analysis: Analysis) -> str:
    results = analysis.results
    planned = results.planned()
    return "complete" if results.is_complete else f"{_num_done(analysis)} of {len(planned)} trainings"


def _num_done(analysis: Analysis) -> int:
    results = analysis.results
    return sum(cell in results.trainings or cell in results.failed for cell in results.planned())


def _title(analysis: Analysis) -> Markup:
    config, results = analysis.results.config, analysis.results
    badge = element("span", _state(analysis), class_="badge done" if results.is_complete else "badge open")
    spent = sum(record.train_seconds for record in results.trainings.values())
    what = f"{len(results.trainings)} trainings" if results.is_complete else "running or interrupted"
    space = config.search.search_space().name
    return element(
        "header",
        element("p", "Audit of a proxy", class_="kicker"),
        element("h1", space, element("span", " on ", class_="soft"), config.search.data.source),
        element("p", badge, " ", f"{what} · {duration(spent)} of training steps · {results.device}", class_="meta"),
    )


def _recommended(analysis: Analysis) -> Markup:
    chosen = analysis.recommendation
    if chosen is None:
        return element("section", element("p", verdict(analysis), class_="verdict"), class_="hero")
    each, search = chosen.standing, analysis.results.config.search
    return element(
        "section",
        element("h2", "Recommended proxy ", element("span", each.training.key, class_="soft")),
        element("p", verdict(analysis), class_="verdict"),
        element("p", exponents_text(each, search)),
        *([element("p", text)] if (text := search_text(each)) else []),
        _fragment(fragment(analysis, chosen)),
        tiles(_figures(analysis, each)),
        class_="hero",
    )


def _fragment(text: str) -> Markup:
    """A recipe's part with a button that copies it."""
    return element(
        "div",
        element("pre", text.strip(), id="fragment", tabindex=0),
        element("button", "Copy", type="button", class_="copy", data_copies="fragment"),
        class_="text-form",
    )


def _figures(analysis: Analysis, each: Standing) -> list[tuple[str, str, str]]:
    ceiling, best = analysis.ceiling, each.by_reward
    low, high = f"{each.accuracy.low:.2f}", f"{each.accuracy.high:.2f}"
    figures = [
        ("Kendall's τ", f"{each.accuracy.tau:.2f}", f"{low} to {high}, 90 %"),
        (
            "τ of the reward",
            f"{each.suited_reward.tau:.2f}",
            f"{each.suited_reward.low:.2f} to {each.suited_reward.high:.2f}; with the search's exponents "
            f"{each.reward.tau:.2f}",
        ),
        ("Cost", f"{each.cost:.3g}", f"of the target's seconds; {each.images:.3g} of its images"),
    ]
    if best is not None:
        figures.append(("Best found", found_text(best), f"by chance so many: {percent(best.chance)}"))
    if ceiling is not None:
        figures.append(("Noise ceiling", f"{ceiling.accuracy.tau:.2f}", "another training of the target"))
    return figures


def _facts(analysis: Analysis) -> Markup:
    config = analysis.results.config
    costs = f"{_text(analysis.by_macs)} of MACs against accuracy, {_text(analysis.by_costs)} of S and P against reward"
    return facts(
        {
            "Target": f"{describe(config.target)}; {config.target_seeds} seeds",
            "Proxies": f"{len(config.audited)}, {config.proxy_seeds} seed{'s' * (config.proxy_seeds != 1)} each",
            "Sample": f"{len(analysis.results.architectures)} architectures, spread by MACs and S",
            "Noise": noise_text(analysis),
            "What costs nothing": f"τ {costs}",
        }
    )


def _text(ranking: Ranking | None) -> str:
    return tau_text(ranking) if ranking else "–"


def _proxies(analysis: Analysis) -> Markup:
    headers = ("", "proxy", "τ", "τ of reward", "suited", "cost", "images", "best found", "regret", "architectures")
    chosen = analysis.recommendation and analysis.recommendation.standing
    rows = [_proxy_row(each, is_chosen=each is chosen) for each in analysis.standings]
    notes = [describe(each.training) for each in analysis.standings]
    note = (
        "★ recommended, ● on the front of τ against cost. Cost: seconds ÷ the target's, images likewise. Best found: "
        "of the best by reward. Regret: how much the first by this proxy falls short of the best, in reward. Suited: "
        "τ of the reward with exponents that suit the proxy's accuracies; best found and regret are by it."
    )
    content = [element("p", note), table(headers, rows, numeric=range(2, 10), notes=notes)] if rows else []
    if analysis.pending:
        waiting = [(key, reason) for key, reason in analysis.pending.items()]
        content += [element("h3", "Not yet"), table(("proxy", "why"), waiting)]
    return section("proxies", "Proxies", *content)


def _proxy_row(each: Standing, *, is_chosen: bool) -> tuple[str, ...]:
    return (
        "★" if is_chosen else "●" if each.on_front else "",
        each.training.key,
        tau_text(each.accuracy),
        tau_text(each.reward),
        f"{each.suited_reward.tau:.2f}",
        cost_text(each.cost),
        f"{each.images:.3g}",
        found_text(each.by_reward),
        f"{each.by_reward.regret:.4f}" if each.by_reward else "–",
        str(each.num_architectures) + ("" if each.is_settled else " so far"),
    )


def _stops(stops: Sequence[EarlyStop]) -> list[Markup]:
    if not stops:
        return []
    rows = [
        (
            each.training.key,
            f"{each.epoch} of {each.training.epochs}",
            tau_text(each.accuracy),
            tau_text(each.reward),
            cost_text(each.cost),
            str(each.num_architectures),
        )
        for each in stops
    ]
    note = (
        "What a rung sees, at no further cost: longer trainings after each of their epochs. They are no proxies with a "
        "schedule of their own, and are never recommended; the target's are held against its other trainings."
    )
    heads = ("training", "epoch", "τ", "τ of reward", "cost", "architectures")
    body = details(f"All {len(rows)}", table(heads, rows, numeric=range(1, 6)))
    return [section("stops", "Early stops", element("p", note), body)]


def _reading(analysis: Analysis) -> Markup:
    points = (
        (
            "τ compares pairs.",
            "Of two architectures that are drawn at random, the proxy puts (1 + τ) / 2 of the pairs in the target's "
            "order: 0 is guessing, 1 the same order.",
        ),
        ("The sample is finite.", sample_text(analysis)),
        (
            "Noise sets a ceiling.",
            noise_text(analysis) + " All are judged on the same images, so the luck of these images is in no interval.",
        ),
        (
            "A reward knows its costs.",
            "S and P stand on both sides of the reward's τ, so it is high before anything is trained: "
            f"{_text(analysis.by_costs)} by S and P alone. Judge a proxy by what it adds to that.",
        ),
        (
            "Seconds are measured.",
            "Of training steps, evaluation left out; other work on the machine shows in them. Images are a count.",
        ),
    )
    items = [element("li", element("strong", head), " ", text) for head, text in points]
    return section("reading", "How to read this", element("ul", *items))


def _sample(analysis: Analysis) -> Markup:
    target, rows = analysis.target, []
    for n, each in enumerate(analysis.results.architectures):
        known = target.accuracy[n] == target.accuracy[n]
        rows.append(
            (
                str(n),
                percent(target.accuracy[n]) if known else "–",
                f"{target.rewards[n]:.4f}" if known else "–",
                count(each.costs.params),
                count(each.costs.macs),
            )
        )
    texts = [text_form(each.architecture) for each in analysis.results.architectures]
    body = table(("", "A at the target", "reward", "P", "MACs"), rows, numeric=range(5), notes=texts)
    return section("sample", "The sample", details(f"All {len(rows)} architectures", body))


def _failures(analysis: Analysis) -> list[Markup]:
    failed = analysis.results.failed
    if not failed:
        return []
    rows = [(cell.training, str(cell.number), str(cell.replicate), reason) for cell, reason in failed.items()]
    heads = ("training", "architecture", "replicate", "reason")
    return [section("failed", "Failed", table(heads, rows, numeric=(1, 2)))]


def _circumstances(analysis: Analysis) -> Markup:
    config = element("pre", analysis.results.config.to_yaml(), tabindex=0)
    return section("circumstances", "Circumstances", details("Configuration", config))
