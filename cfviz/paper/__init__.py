"""Figures for papers in matplotlib: exact sizes, text as text, the colours of the app's light theme.

The list of figures needs neither PyTorch nor matplotlib, so that `cfviz figure --help` answers at once.
"""

ABOUT = {
    "grouping": "the groups of a token, SDA and LDA",
    "heads": "a token's attention, head by head",
    "bias": "the position bias of a block, head by head",
    "shares": "what each kernel contributes to the tokens",
    "reach": "what attention brings to a token, block by block",
    "distance": "how far each head looks, block by block",
    "rollout": "what a token is made of, attention traced back (of timm's models: Swin, Swin V2, ViT)",
    "filters": "the filters of the first embedding layer, by kernel",
}
