"""What heads attend to: the living figure on the chosen photo, and what can be measured in it."""

from __future__ import annotations

from cfviz.ui import section, start
from cfviz.ui.pages.attention import fields, offsets, others, similar, view

ctx = start("attention")
about = view.choose_subject(ctx)
view.show_attention(ctx, about)
view.show_footer(ctx, about)
section(ctx, "heads", view.show_heads, ctx, about)
section(ctx, "paths", view.show_dependence, ctx, about)
section(ctx, "relevance", view.show_relevance, ctx, about, params=("class",))
section(ctx, "similar", similar.show_similar, ctx, params=("similar",))
section(ctx, "offsets", offsets.show_offsets, ctx, params=("offset",))
section(ctx, "fields", fields.show_fields, ctx)
section(ctx, "others", others.show, ctx, params=("timm", "t_own"))
