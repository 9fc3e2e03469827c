"""Formulas as MathML, which browsers draw without a script or a font from elsewhere."""

from __future__ import annotations

import re
from html import unescape

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def as_mathml(html: str) -> str:
    """Replace what arithmatex marked."""
    from latex2mathml.converter import convert

    html = _BLOCK.sub(
        lambda m: f'<div class="formula">{convert(unescape(m[1]), "block")}</div>', html
    )
    return _INLINE.sub(lambda m: convert(unescape(m[1])), html)
