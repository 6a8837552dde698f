"""A family as a page of its own: one HTML file that asks no network."""

from pathlib import Path

from ..family.members import Family
from ..run_directory import write_whole
from .family_section import family_figure, family_section
from .markup import element, join
from .page import assemble, figures_section


def write_family_page(family: Family, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, render_family(family))


def render_family(family: Family) -> str:
    """The page as HTML."""
    names, figure = ", ".join(member.name for member in family.members), family_figure(family)
    head = element(
        "header",
        element("p", "Training-aware architecture search", class_="kicker"),
        element("h1", "A family of ", element("span", names, class_="soft")),
    )
    body = join([head, family_section(family), figures_section([figure], heading="Costs")])
    return assemble(f"A family of {names}", body, [figure])
