"""Making a figure's SVG part of a page: in the page's colour of text, and with ids that are nobody else's."""

import hashlib
import re
from xml.etree import ElementTree

from rocoft_bench.report.figures.style import INK

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def themed_svg(svg_text: str) -> str:
    """An SVG that `draw_figures` wrote, to be put into HTML as it is: no prolog, ink as `currentColor`, role="img", no
    ids but those that something in it refers to, which no other figure has. Its <title> is the figure's.

    Raises: ElementTree.ParseError if it is not XML.
    """
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", LINK)
    root = ElementTree.fromstring(svg_text)
    for parent in list(root.iter()):
        for child in (*parent.findall(f"{{{SVG}}}metadata"), *parent.findall(f"{{{SVG}}}style")):
            parent.remove(child)  # a style sheet in a page is the whole page's
    root.attrib |= {"role": "img", "stroke-linejoin": "round", "stroke-linecap": "butt"}
    prefix = hashlib.sha256(svg_text.encode()).hexdigest()[:8]
    values = [(name, value) for element in root.iter() for name, value in element.items()]
    used = {value[1:] for name, value in values if _is_link(name) and value.startswith("#")}
    used |= {id for name, value in values if not _is_link(name) for id in REFERENCE.findall(value)}
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        element.attrib.update({name: _themed(name, value, prefix) for name, value in element.items()})
    return ElementTree.tostring(root, encoding="unicode")


def _is_link(name: str) -> bool:
    return name in ("href", f"{{{LINK}}}href")


def _themed(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if _is_link(name):
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else value
    return REFERENCE.sub(rf"url(#{prefix}-\1)", value).replace(INK, "currentColor")
