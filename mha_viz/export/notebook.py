"""What a notebook shows of a Run or a Report: HTML that needs no script, no network and no style sheet.

Colours are those of the page around it, so that it reads on light and dark. Everything that is a user's is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.stats import summarise
from mha_viz.doctor.findings import Finding, Report
from mha_viz.figures.thumbnail import data_url, painted
from mha_viz.figures.tiles import side, tiles

MAX_LAYERS = 12
MAX_HEADS = 16
MAX_TOKENS = 60
SIZE = 48
"""Most pixels of a head's picture in each direction, before the page draws it larger."""

_SHOWN = 56  # px on the screen
_LINE = "1px solid rgba(127,127,127,0.4)"
_CELL = f"border-top:{_LINE};padding:6px 10px;text-align:left;vertical-align:middle;background:none"
_TOKEN = f"border:{_LINE};border-radius:3px;padding:0 4px;margin:0 2px 2px 0;display:inline-block;white-space:pre"
_COLOURS = {"error": "rgb(214,55,55)", "warning": "rgb(196,120,0)", "note": "rgb(70,130,180)"}


def run_html(run: Run) -> str:
    """Return a run as HTML: a headline, each layer with a small picture of each head, and the tokens of the first item.

    At most 12 layers and 16 heads of each are shown, and it says how many more there are. Weights that are streamed
    are not computed for a picture that nobody asked for.
    """
    shown = run.layers[:MAX_LAYERS]
    rows = "".join(_row(layer) for layer in shown)
    more = _more(len(run.layers) - len(shown), "layer")
    notes = "".join(f"<div>{escape(note)}</div>" for note in run.notes)
    return (
        f"<div><strong>{escape(_title(run))}</strong>{_about(run)}{notes}"
        f'<table style="border-collapse:collapse;margin:8px 0">{rows}</table>{more}{_tokens(run)}</div>'
    )


def report_html(report: Report) -> str:
    """Return a report as HTML: how much was found, and each finding with its evidence and its fix."""
    found = "".join(map(_finding, report.findings))
    return f"<div><strong>Mask check: {escape(report.summary)}</strong>{found}</div>"


def _title(run: Run) -> str:
    count = len(run.layers)
    return f"{run.name or 'Run'}: {count} attention layer{'s' if count > 1 else ''}"


def _about(run: Run) -> str:
    said = [run.dtype, f"on {run.device}" if run.device else ""]
    if run.seconds is not None:
        said.append(f"in {run.seconds * 1000:.3g} ms")
    return f"<span> &nbsp; {escape(' '.join(filter(None, said)))}</span>"


def _row(layer: LayerAttention) -> str:
    streamed = layer.streamed is not None
    facts = "".join(f"<br>{escape(text)}" for text in ([] if streamed else _trouble(layer)))
    shown = "Too many to be held: ask for a part with overview(), window(), row() or stats()."
    return (
        f'<tr><td style="{_CELL}">{escape(layer.name)}</td><td style="{_CELL}">{list(layer.shape)}{facts}</td>'
        f'<td style="{_CELL}">{shown if streamed else _pictures(layer)}</td></tr>'
    )


def _pictures(layer: LayerAttention) -> str:
    heads, height, width = layer.shape[1], *(side(length, SIZE) for length in layer.shape[2:])
    weights, _, codes = tiles(layer, 0, (height, width))
    shown = (
        _picture(data_url(painted(weights[head], codes[head])), layer.head_name(head))
        for head in range(min(heads, MAX_HEADS))
    )
    return "".join(shown) + _more(heads - MAX_HEADS, "head")


def _picture(url: str, name: str) -> str:
    style = f"width:{_SHOWN}px;height:{_SHOWN}px;image-rendering:pixelated;display:inline-block;margin:0 3px 3px 0"
    return f'<img src="{url}" alt="{escape(name)}" title="{escape(name)}" style="{style}">'


def _trouble(layer: LayerAttention) -> Iterable[str]:
    """Yield what is wrong with the weights of the first item."""
    summary = summarise(layer)
    if summary.nan_rows:
        yield f"{summary.nan_rows:,} of {summary.rows:,} rows hold NaN"
    if summary.violations:
        yield f"{summary.violations:,} masked cells have a weight"


def _more(count: int, what: str) -> str:
    return f"<span>and {count:,} more {what}{'s' if count > 1 else ''}</span>" if count > 0 else ""


def _tokens(run: Run) -> str:
    queries, keys = run.query_tokens(), run.key_tokens()
    lists = {"tokens": queries} if queries == keys else {"queries": queries, "keys": keys}
    return "".join(f"<div>{name} {_listed(tokens)}</div>" for name, tokens in lists.items() if not _plain(tokens))


def _plain(tokens: tuple[str, ...]) -> bool:
    """Return whether tokens are only their own places, as where nothing named them."""
    return all(token == str(place) for place, token in enumerate(tokens))


def _listed(tokens: tuple[str, ...]) -> str:
    spans = "".join(f'<span style="{_TOKEN}">{escape(token)}</span>' for token in tokens[:MAX_TOKENS])
    return spans + _more(len(tokens) - MAX_TOKENS, "token")


def _finding(finding: Finding) -> str:
    label = f'<span style="color:{_COLOURS[finding.severity]};font-weight:600">{finding.severity}</span>'
    fix = (
        f'<pre style="margin:4px 0 0;background:none;color:inherit">{escape(finding.fix)}</pre>' if finding.fix else ""
    )
    return (
        f'<div style="border-top:{_LINE};padding:6px 0;margin-top:6px">{label} <code>{escape(finding.rule)}</code><br>'
        f"{escape(finding.message)}<br><em>seen: {escape(finding.evidence)}</em>{fix}</div>"
    )
