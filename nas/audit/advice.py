"""What an audit comes to, in words: for the command line, the report and the recipe fragment alike."""

from proxies.ranking import Ranking

from ..config import MAX_EXPONENT, SearchConfig
from ..quantities import percent
from .analysis import Analysis, Recommendation
from .config import ProxyTraining
from .scores import Selection
from .standing import Standing


def describe(training: ProxyTraining) -> str:
    """A training in words.

    >>> describe(ProxyTraining(epochs=4, data_share=0.25, lr=0.01))
    '4 epochs on 25 % of the images, learning rate 0.01'
    """
    plural = "s" * (training.epochs != 1)
    share = f" on {100 * training.data_share:g} % of the images" if training.data_share != 1 else ""
    own = [
        *([f"{training.resolution} pixels"] if training.resolution else []),
        *([f"{training.width:g} × the width"] if training.width != 1 else []),
        *([f"learning rate {training.lr:g}"] if training.lr is not None else []),
        *([f"batch {training.batch_size}"] if training.batch_size is not None else []),
    ]
    return ", ".join([f"{training.epochs} epoch{plural}{share}", *own])


def tau_text(ranking: Ranking) -> str:
    """τ with its interval, to as many digits as it has.

    >>> tau_text(Ranking(tau=0.7158, low=0.5554, high=0.8462))
    '0.72 [0.56, 0.85]'
    """
    return f"{ranking.tau:.2f} [{ranking.low:.2f}, {ranking.high:.2f}]"


def cost_text(cost: float) -> str:
    """A part of the target's cost, and how many times cheaper that is.

    >>> cost_text(0.0625)
    '0.0625 (1/16)'
    """
    inverse = 1 / cost
    return f"{cost:.3g} (1/{inverse:.0f})" if inverse >= 9.5 else f"{cost:.3g} (1/{inverse:.2g})"


def found_text(selection: Selection | None) -> str:
    """How many of the best were found; a dash where that cannot be said."""
    return f"{selection.found} of {selection.num_best}" if selection else "–"


def verdict(analysis: Analysis) -> str:
    """The recommendation in a sentence."""
    chosen = analysis.recommendation
    if chosen is None:
        return "No proxy can be judged yet: three architectures must be trained by it and at the target."
    each = chosen.standing
    so_far = "" if analysis.results.is_complete else "So far, "
    head = f"{so_far}{each.training.key} ({describe(each.training)})"
    figures = (
        f"τ {tau_text(each.accuracy)} on {each.num_architectures} architectures at {cost_text(each.cost)} of the cost"
    )
    return f"{head}: {figures}. {_reach(analysis, chosen)}"


def _reach(analysis: Analysis, chosen: Recommendation) -> str:
    aim, ceiling = analysis.results.config.min_tau, analysis.ceiling
    if chosen.reaches == "aim":
        return f"None that reaches τ {aim:g} is clearly cheaper."
    if ceiling is None:
        return f"None reaches τ {aim:g}; it ranks best. How much of that is noise is not known yet."
    limit = f"another training of the target itself reaches {ceiling.accuracy.tau:.2f}"
    if chosen.reaches == "ceiling":
        return f"None that ranks as well as noise allows is clearly cheaper: {limit}."
    if ceiling.accuracy.tau < aim:
        return f"τ {aim:g} is out of reach, since {limit}: noise from seed to seed limits it. This one ranks best."
    return f"None reaches τ {aim:g}, though {limit}: noise does not forbid it, longer trainings may. It ranks best."


def noise_text(analysis: Analysis) -> str:
    """What noise from seed to seed leaves, in a sentence."""
    ceiling = analysis.ceiling
    if ceiling is None:
        return "The noise ceiling is known once three architectures were trained twice at the target."
    return (
        f"Noise ceiling: τ {tau_text(ceiling.accuracy)} of one training of the target against "
        f"{'the other' if ceiling.num_trainings == 2 else f'the mean of the {ceiling.num_trainings - 1} others'}; "
        f"seeds differ by ± {percent(ceiling.seed_error)}, architectures by ± {percent(ceiling.spread)}."
    )


def sample_text(analysis: Analysis) -> str:
    """What so few architectures leave open, in a sentence."""
    width = analysis.half_width
    here = f"; here it is about ± {width:.2f}" if width is not None else ""
    return (
        f"Intervals are 90 %, over architectures: 20 of them leave τ open by about ± 0.15{here}. Proxies whose "
        "intervals overlap may change places on other architectures, and the best of many is partly luck."
    )


def suited_exponents(standing: Standing, search: SearchConfig) -> dict[str, float]:
    """The reward's w and v that suit a proxy's accuracies; none where the audit does not show that they are better."""
    if standing.slope is None or not standing.slope.is_sure or standing.suited_reward.tau < standing.reward.tau:
        return {}
    found = {name: round(getattr(search, name) / standing.slope.value, 3) for name in ("w", "v")}
    return found if max(map(abs, found.values())) <= MAX_EXPONENT else {}


def exponents_text(standing: Standing, search: SearchConfig) -> str:
    """Which exponents a search by a proxy needs, and why, in a sentence."""
    suited, slope, plain = suited_exponents(standing, search), standing.slope, tau_text(standing.reward)
    if not suited or slope is None:
        return f"Its reward's τ is {plain} with w {search.w:g} and v {search.v:g}; whether others suit it is not sure."
    return (
        f"Its accuracies differ {1 / slope.value:.1f} [{1 / slope.high:.1f}, {1 / slope.low:.1f}] times as much as the "
        f"target's (in logarithms): with w {suited['w']:g} and v {suited['v']:g} its reward's τ is "
        f"{tau_text(standing.suited_reward)}, with {search.w:g} and {search.v:g} {plain}."
    )


def search_text(standing: Standing) -> str:
    """What a search by a proxy would have found, in a sentence; empty where the sample is too small."""
    best = standing.by_reward
    if best is None or standing.by_accuracy is None:
        return ""
    first = f"{best.regret:.4f} of reward short of the best" if best.regret else "the best of all"
    return (
        f"A search by it would have found {best.found} of the {best.num_best} best by reward (so many or more by "
        f"chance: {percent(best.chance)}), and its first is {first}. Ranked by accuracy alone it finds "
        f"{found_text(standing.by_accuracy)}, and its first lacks {100 * standing.by_accuracy.regret:.1f} points."
    )
