"""What the command line prints of an audit."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..audit.advice import cost_text, found_text, tau_text
from ..audit.analysis import Analysis
from ..audit.standing import Standing
from .tables import plain_table


def proxies_table(analysis: Analysis) -> RenderableType:
    """Every proxy, the cheapest first, with how well it ranks."""
    chosen = analysis.recommendation and analysis.recommendation.standing
    table = plain_table()
    table.add_column("")
    table.add_column("proxy", no_wrap=True)
    for name in ("τ", "τ of reward", "suited", "cost", f"best {analysis.target.num_best} found", "architectures"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in analysis.standings:
        _add(table, each, is_chosen=each is chosen)
    waiting = [Text(f"not yet: {key}: {reason}", style="dim") for key, reason in analysis.pending.items()]
    legend = [
        "★ recommended · ● on the front of τ against cost · τ [90 % over architectures] · cost: ÷ the target's",
        "τ of reward: with the search's exponents; suited: with those that suit the proxy's accuracies",
    ]
    return Group(table, *waiting, Text("\n".join(legend), style="dim"))


def _add(table: Table, each: Standing, *, is_chosen: bool) -> None:
    table.add_row(
        "★" if is_chosen else "●" if each.on_front else "",
        each.training.key,
        tau_text(each.accuracy),
        tau_text(each.reward),
        f"{each.suited_reward.tau:.2f}",
        cost_text(each.cost),
        found_text(each.by_reward),
        str(each.num_architectures) + ("" if each.is_settled else " so far"),
        style="bold" if is_chosen else "",
    )
