"""What a notebook shows: whole HTML without scripts, in which nothing of the user's is markup."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import mha_viz as mv
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.doctor.findings import Finding, Report
from mha_viz.export.notebook import report_html, run_html
from mha_viz.figures import grammar

VOID = {"img", "br"}
PLAIN = {*VOID, "div", "span", "strong", "table", "tr", "td", "pre", "code", "em"}


class Reader(HTMLParser):
    """Checks that every element is closed, and keeps the elements and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def picture(attributes: dict[str, str | None]) -> np.ndarray:
    kind, held = (attributes["src"] or "").split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(held))))


def wide(layers: int, heads: int, length: int = 4) -> Run:
    weights = torch.rand(1, heads, length, length)
    made = [LayerAttention(f"layers.{i}", weights, None, None, 0.0, None, None) for i in range(layers)]
    return Run(tuple(made), None, None, "cpu", "float32", None, name="my model")


def test_a_run_shows_its_layers_its_heads_and_its_tokens() -> None:
    found = Reader(run_html(mv.run(mv.Scenario())))
    assert "Run: 1 attention layer" in found.text
    assert "float32 on cpu in " in found.text
    assert "[1, 4, 11, 11]" in found.text
    assert [image["alt"] for image in found.of("img")] == ["head 0", "head 1", "head 2", "head 3"]
    assert re.search("tokens thecatsatonthematbecausethecatwastired", found.text)


def test_each_picture_has_the_grammars_colours() -> None:
    run = mv.run(mv.Scenario(text="a b c d"))
    shown = [picture(image) for image in Reader(run_html(run)).of("img")]
    assert {pixels.shape for pixels in shown} == {(48, 48, 3)}
    masked = [int(part) for part in re.findall(r"\d+", grammar.MASKED_COLOUR)]
    for pixels in shown:
        assert pixels[0, 0].tolist() == [253, 231, 37]  # the first query sees itself alone
        assert pixels[0, 47].tolist() == masked


def test_trouble_is_said() -> None:
    assert "12 of 24 rows hold NaN" not in run_html(mv.run(mv.Scenario()))
    broken = mv.run(mv.Scenario(source="normal", query_len=6, mask="k < q"))
    assert "4 of 24 rows hold NaN" in run_html(broken)
    layer = replace(broken.layers[0], weights=torch.full((1, 4, 6, 6), 0.5))
    assert "84 masked cells have a weight" in run_html(replace(broken, layers=(layer,)))


@pytest.mark.parametrize(
    ("layers", "heads", "images", "said"),
    [
        (12, 16, 192, []),
        (13, 2, 24, ["and 1 more layer"]),
        (15, 18, 192, ["and 3 more layers", "and 2 more heads"]),
    ],
)
def test_many_layers_and_heads_are_cut_and_counted(layers: int, heads: int, images: int, said: list[str]) -> None:
    found = Reader(run_html(wide(layers, heads)))
    assert len(found.of("img")) == images
    assert f"my model: {layers} attention layers" in found.text
    assert sorted(set(re.findall(r"and \d+ more (?:layer|head)s?", found.text))) == sorted(said)


def test_many_tokens_are_cut_and_a_large_picture_is_pooled() -> None:
    run = mv.run(mv.Scenario(text=" ".join(f"w{i}" for i in range(100))))
    found = Reader(run_html(run))
    assert "and 40 more tokens" in found.text
    assert picture(found.of("img")[0]).shape == (48, 48, 3)


def test_queries_and_keys_are_listed_apart_in_cross_attention_and_plain_numbers_not_at_all() -> None:
    text = Reader(run_html(mv.run(mv.Scenario(text="one two", key_text="three", add_zero_attn=True)))).text
    assert "queries onetwokeys threezero" in text
    assert "token" not in run_html(wide(1, 1))


def test_nothing_of_the_users_is_markup() -> None:
    evil = "<script>alert(1)</script>\"'&"
    base = mv.run(mv.Scenario(text="a b"))
    layer = replace(base.layers[0], name=evil, query_tokens=((evil, "b"),), extra_keys=())
    run = replace(base, layers=(layer,), name=evil, notes=(evil,), device=evil)
    report = Report((Finding("inverted-mask", "error", evil, evil, (), evil),))
    for html, times in ((run_html(run), 5), (report_html(report), 3)):
        found = Reader(html)
        assert found.text.count(evil) == times
        assert {tag for tag, _ in found.tags} <= PLAIN
        assert "http" not in html
        assert not re.search(r"<(script|style|link)|\son\w+=", html)


def test_a_report_shows_every_finding_with_its_evidence_and_fix() -> None:
    report = mv.check(torch.ones(6, 6).tril().bool(), intent="causal")
    assert report.findings
    text = Reader(report._repr_html_()).text
    assert report._repr_html_() == report_html(report)
    assert text.startswith(f"Mask check: {report.summary}")
    for finding in report.findings:
        for said in (finding.severity, finding.rule, finding.message, finding.evidence, finding.fix):
            assert said in text
    assert Reader(report_html(Report(()))).text == "Mask check: nothing to report"
