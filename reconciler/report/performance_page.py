"""What techniques give and take as one HTML page that needs nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from reconciler.model.performance import Performance
from reconciler.report.performance import PROJECTS, TECHNIQUES, heading, project_cells, remarks, technique_cells, title
from reconciler.report.show import clean, rfc3339

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .3rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 18%, transparent); }
tr.pareto td { font-weight: 600; }
"""


def performance_html(found: Performance, installation: str, at: datetime, trouble: str = "") -> str:
    """Without script, picture or address outside: it can be mailed, and read in light and dark. `trouble`: why nothing is known of runs."""
    body = [
        f"<h1>{_text(heading(installation))}</h1>",
        f"<p>As of {rfc3339(at)}.</p>",
        f"<p>{_text(trouble)}</p>" if trouble else "",
        "<h2>Projects</h2>",
    ]
    body.append(_table(PROJECTS, [(project_cells(each), "") for each in found.projects]))
    for group in found.comparisons:
        rows = [(technique_cells(group, each), "pareto" if each.pareto else "") for each in group.entries]
        body += [f"<h2>{_text(title(group))}</h2>", _table(("Pareto", *TECHNIQUES[1:]), rows)]
    body.append(f"<ul>{''.join(f'<li>{_text(each)}</li>' for each in remarks(found))}</ul>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(heading(installation))}</title>'
    lines = "\n".join(body)
    return f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{_STYLE}</style></head>\n<body>\n{lines}\n</body>\n</html>\n'


def _table(heads: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> str:
    head = "".join(f'<th scope="col">{_text(each)}</th>' for each in heads)
    lines = "".join(f'<tr class="{kind}">{"".join(f"<td>{_text(each)}</td>" for each in cells)}</tr>\n' for cells, kind in rows)
    return f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table></div>'


def _text(text: str) -> str:
    return escape(clean(text))
