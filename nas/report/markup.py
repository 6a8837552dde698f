"""HTML that cannot be broken by what it shows: every text is escaped unless it is markup already."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

_VOID = ("br", "hr", "rect", "circle")


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | int | float | None) -> Markup:
    """An element with its children; texts are escaped, `Markup` is not.

    >>> element("p", "a < b ", element("b", "c"), class_="note")
    '<p class="note">a &lt; b <b>c</b></p>'

    Args:
        name: Of the element.
        children: Texts and markup, in order.
        attributes: A trailing underscore is dropped, other underscores become hyphens; None leaves one out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Markup:
    """Texts and markup one after the other, texts escaped."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children))


def breakable(architecture: str) -> Markup:
    """An architecture's text with places where a line may break; copying it gives the text unchanged."""
    first, *rest = architecture.split("-")
    return join([first, *(join(["-", Markup("<wbr>"), part]) for part in rest)])


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> Markup:
    """A table in a box of its own, in which it scrolls when it is too wide.

    Args:
        headers: Of the columns.
        rows: Cells, as many as there are headers.
        numeric: Places of columns that are aligned to the right.
        notes: A line under each row that spans all columns but the first; none by default.
    """
    head = element("thead", element("tr", *_cells("th", headers, numeric)))
    lines = [element("tr", *_cells("td", row, numeric)) for row in rows]
    if notes:
        span = len(headers) - 1
        under = [element("tr", element("td"), element("td", note, colspan=span), class_="under") for note in notes]
        lines = [line for pair in zip(lines, under, strict=True) for line in pair]
    body = element("tbody", *lines)
    return element("div", element("table", head, body), class_="scroll", tabindex=0)


def section(name: str, title: str, *content: Markup) -> Markup:
    """A part of the page with its heading."""
    return element("section", element("h2", title), *content, id=name)


def details(title: str, content: Markup) -> Markup:
    """What is seen once its title is clicked."""
    return element("details", element("summary", title), content)


def text_form(architecture: str) -> Markup:
    """An architecture's text in a table or below one."""
    return element("code", breakable(architecture), class_="architecture")


def copyable(architecture: str) -> Markup:
    """An architecture's text with a button that copies it; once a page."""
    return element(
        "div",
        element("code", breakable(architecture), id="best"),
        element("button", "Copy", type="button", class_="copy", data_copies="best"),
        class_="text-form",
    )


def tiles(figures: Iterable[tuple[str, str, str]]) -> Markup:
    """The figures that matter most: name, value, and a note in small letters."""
    return element("dl", *(_tile(*figure) for figure in figures), class_="tiles")


def facts(texts: Mapping[str, str]) -> Markup:
    """Names and what is to be said of them."""
    pairs = [element("div", element("dt", name), element("dd", text)) for name, text in texts.items()]
    return element("dl", *pairs, class_="facts")


def _tile(name: str, value: str, note: str) -> Markup:
    return element("div", element("dt", name), element("dd", value, class_="value"), element("dd", note, class_="note"))


def _cells(kind: str, values: Sequence[str], numeric: Sequence[int]) -> list[Markup]:
    classes = ("number" if place in numeric else None for place in range(len(values)))
    return [element(kind, value, class_=name) for value, name in zip(values, classes, strict=True)]
