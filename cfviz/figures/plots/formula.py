"""A formula as a drawing, for paper; pages let the browser set theirs."""

from __future__ import annotations

import re
from io import BytesIO


def formula_svg(latex: str) -> str:
    """A formula as SVG, black on nothing; the same formula gives the same text.

    Args:
        latex: What stands between the dollar signs, in the part of LaTeX that both KaTeX and matplotlib read.

    Raises:
        ValueError: If matplotlib cannot read it.
    """
    from matplotlib.font_manager import FontProperties  # deferred: half a second, and few readers print
    from matplotlib.mathtext import math_to_image

    out = BytesIO()
    math_to_image(f"${latex}$", out, FontProperties(size=13, math_fontfamily="cm"), format="svg")
    text = out.getvalue().decode()
    drawing = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    return drawing.replace("fill: #ffffff", "fill: none")
