"""The files that are written, and what becomes of an SVG in a page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Table
from rocoft_bench.report.figures import Drawn, draw_figures, themed_svg
from rocoft_bench.report.figures.style import INK, in_two_lines, short
from tests.made_up import kernel_record, stored
from tests.report.figures.examples import kernels_of, row, table

EVIL = 'x_1$ & <b>"|\x00\ud800 $'


def comparison(name: str = "LoRA") -> Table:
    return table(row("RoCoFT-3-Row", 1000, {"rte": 80, "cola": 60}), row(name, 5000, {"rte": 70, "cola": 60}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp("figures")
    results = Results(folder, kernels=[kernels_of(folder / "kernels")])
    return draw_figures(results, [comparison()], folder / "out")


def test_each_figure_is_a_picture_and_a_drawing(drawn: Drawn) -> None:
    assert [figure.drawing.key for figure in drawn.figures] == [
        "pareto-table1",
        "kernels-sst-2-16-shot-roberta-base",
        "spectra-16-shot-roberta-base",
    ]
    for figure in drawn.figures:
        assert figure.png.stem == figure.svg.stem == figure.drawing.key
        with Image.open(figure.png) as picture:
            assert picture.format == "PNG"
            assert picture.width == 960
            assert picture.getpixel((0, 0))[:3] == (255, 255, 255)
        assert ElementTree.parse(figure.svg).getroot().tag.endswith("svg")


def test_text_stays_text(drawn: Drawn) -> None:
    root = ElementTree.parse(drawn.figures[0].svg).getroot()
    texts = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]
    assert {"RoCoFT-3-Row", "LoRA", "trained parameters outside the head"} <= set(texts)


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    results = Results(tmp_path, kernels=[stored(kernel_record())])
    first, second = (draw_figures(results, [comparison()], tmp_path / name) for name in ("a", "b"))
    assert len(first.figures) == 2
    for one, other in zip(first.figures, second.figures, strict=True):
        assert one.png.read_bytes() == other.png.read_bytes()
        assert one.svg.read_bytes() == other.svg.read_bytes()


def test_nothing_of_nothing(tmp_path: Path) -> None:
    assert draw_figures(Results(tmp_path), [], tmp_path / "out") == ([], [])


def test_figures_of_one_key_have_files_of_their_own(tmp_path: Path) -> None:
    kernels = [stored(kernel_record(settings_hash=name, data={}, model={"name": name})) for name in ("Ä", "Ö")]
    figures = draw_figures(Results(tmp_path, kernels=kernels), [], tmp_path / "out").figures
    assert [figure.drawing.key for figure in figures] == ["spectra-16-shot", "spectra-16-shot-2"]


def test_names_are_shown_as_they_are_whatever_is_in_them(tmp_path: Path) -> None:
    tables = [comparison(EVIL)]
    tables[0].title = EVIL
    (figure,) = draw_figures(Results(tmp_path), tables, tmp_path / "out").figures
    text = "".join(ElementTree.fromstring(themed_svg(figure.svg.read_text(encoding="utf-8"))).itertext())
    assert 'x_1$ & <b>"|' in text


def test_a_themed_svg_has_the_pages_colour_of_text(drawn: Drawn) -> None:
    for figure in drawn.figures:
        themed = themed_svg(figure.svg.read_text(encoding="utf-8"))
        root = ElementTree.fromstring(themed)
        assert INK in figure.svg.read_text(encoding="utf-8")
        assert INK not in themed.lower()
        assert "currentColor" in themed
        assert root.get("role") == "img"
        title = root.find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert title.text == figure.drawing.title


def test_a_themed_svg_brings_nothing_but_itself_into_a_page(drawn: Drawn) -> None:
    themed = themed_svg(drawn.figures[0].svg.read_text(encoding="utf-8"))
    assert themed.startswith("<svg")
    assert not re.search("<\\?xml|<!DOCTYPE|<style|<metadata", themed)
    assert "fill: #ffffff" not in themed.split("</g>")[0]  # a background


def test_ids_of_several_figures_in_a_page_are_different_and_what_refers_to_them_finds_them(drawn: Drawn) -> None:
    ids: list[str] = []
    for figure in drawn.figures:
        root = ElementTree.fromstring(themed_svg(figure.svg.read_text(encoding="utf-8")))
        own = [id for element in root.iter() if (id := element.get("id"))]
        values = " ".join(value for element in root.iter() for value in element.attrib.values() if len(value) < 1000)
        referred = set(re.findall(r"url\(#([^)]+)\)", values))
        links = (element.get("{http://www.w3.org/1999/xlink}href") or "" for element in root.iter())
        referred |= {link[1:] for link in links if link.startswith("#")}
        assert referred
        assert referred <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_names_that_differ_at_their_ends_stay_different() -> None:
    names = [short(f"RoCoFT-4-Column, selection={strategy}", 24) for strategy in ("max_norm", "min_norm")]
    assert len(set(names)) == 2
    assert all(len(name) == 24 for name in names)
    assert short("LoRA", 24) == "LoRA"
    name = "RoCoFT-3-Column, selection=random, target_modules=attention_output + ffn_out"
    assert in_two_lines(name).split("\n")[0] == "RoCoFT-3-Column, selection=random,"
    assert len(in_two_lines(name).split("\n")) == 2
    assert in_two_lines("LoRA") == "LoRA"
