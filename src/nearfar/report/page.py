"""The parts of a report page and the one function that turns them into a self-contained HTML file."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearfar import __version__

LINE = 90
"""characters beside the names of rows that the page has the width for"""


@dataclass
class Table:
    """Rows of text under a heading; the first cell of a row names it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def narrow(self) -> bool:
        """Whether all cells but the first of a row fit beside each other unbroken: numbers with intervals do."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=False)]
        return sum(widths[1:]) <= LINE


@dataclass
class Picture:
    """A PNG, WebP or GIF file, the text for those who cannot see it, and its caption."""

    path: Path
    alt: str
    caption: str = ""
    wide: bool = False
    """takes the whole width: sheets of many small pictures"""

    @property
    def source(self) -> str:
        """The file as a data URI, so that the page is one file."""
        return f"data:image/{self.path.suffix[1:]};base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass
class Section:
    """One titled part of the page."""

    title: str
    texts: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    snippets: list[str] = field(default_factory=list)
    """HTML of our own templates, as it is"""

    @property
    def anchor(self) -> str:
        """The fragment that links to it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def __bool__(self) -> bool:
        return bool(self.tables or self.figures or self.snippets)


def render(
    path: Path, title: str, lead: str, sections: Sequence[Section], details: Mapping[str, str], numbers: str
) -> Path:
    """Write the page; sections without a table or a figure are left out."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("nearfar.report", "templates"), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html").render(
        title=title,
        lead=lead,
        sections=[s for s in sections if s],
        details=details,
        numbers=numbers,
        version=__version__,
    )
    path.write_text(page, encoding="utf-8")
    return path


def number(value: Any, digits: int = 3) -> str:
    """A metric as text: 0.912 or 0.912 (0.880 to 0.941); a dash where it could not be measured."""
    if isinstance(value, Mapping):
        if value.get("value") is None:
            return "–"
        text = f"{value['value']:.{digits}f}"
        if value.get("low") is not None and value.get("high") is not None:
            text += f" ({value['low']:.{digits}f} to {value['high']:.{digits}f})"
        return text
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
