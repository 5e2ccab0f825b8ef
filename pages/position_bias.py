"""The position bias as a surface, how it is made, and what a resized window does to it and to the answer."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import (
    position_bias,
    position_bias_answer,
    position_bias_job,
    position_bias_sizes,
    position_bias_use,
    start,
)

ctx = start("position_bias")
its = position_bias.subject(ctx)
position_bias.figures(ctx, its, "surfaces")
position_bias.summary(ctx, its, position_bias_sizes.verdict(ctx))
position_bias.figures(ctx, its, "made")
position_bias.figures(ctx, its, "resized")
position_bias_answer.section(ctx, its)
position_bias_sizes.section(ctx, its)
position_bias_job.section(ctx, its)
position_bias_use.section(ctx, its)
position_bias_use.share(ctx, its)
