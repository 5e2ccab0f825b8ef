"""The position bias as a surface, how it is made, and what a resized window does to it and to the answer."""

from __future__ import annotations

import pages  # noqa: F401  first: see there
from cfviz.ui import start
from cfviz.ui.pages.position_bias import (
    ablation as position_bias_use,
)
from cfviz.ui.pages.position_bias import (
    accuracy as position_bias_sizes,
)
from cfviz.ui.pages.position_bias import (
    answer as position_bias_answer,
)
from cfviz.ui.pages.position_bias import (
    own_photos as position_bias_job,
)
from cfviz.ui.pages.position_bias import (
    surfaces as position_bias,
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
