"""Reasons for refusing a checkpoint: a code, a sentence, and the facts that fill the sentence.

The sentences are also in `assets/translations/*/errors.json`; a test keeps the two in step.
"""

from __future__ import annotations

MESSAGES = {
    # the source
    "not_found": "{source}: no such file, variant or repository.",
    "folder": "{source} is a folder; give the weights file inside it.",
    "unreadable": "{source} could not be read: {detail}.",
    "no_bundled": "No weights are bundled for {variant}; they are for: {available}.",
    "no_official": "{variant} has no official weights; they exist for: {available}.",
    "needs_person": (
        "The authors' {variant} weights are on a site that only a person can use: download the file "
        "in a browser ({page}) and give its path on this machine instead."
    ),
    "wrong_variant": "{source} holds {found}, but {wanted} was asked for.",
    # the download
    "no_network": "{url} could not be reached ({detail}); check the connection, or give a local file.",
    "interrupted": "The connection to {url} broke after {done}. What arrived is kept; try again to resume.",
    "http": "{url} returned HTTP status {status}.",
    "quota": (
        "Google Drive did not deliver the file ({detail}); it may be over its daily quota. Try again "
        "tomorrow, or open {url} in a browser and give the path of the file."
    ),
    "changed": (
        "What {url} sends now has SHA-256 {now}, but the first download had {recorded}; it is not used. "
        "Delete {record} to trust the new file."
    ),
    "cancelled": "The download was cancelled; what arrived is kept.",
    "disk": "{path} could not be written: {detail}.",
    "lost": "{path} was damaged and has been removed, but could not be downloaded again. {reason}",
    "hub": "No weights were found in the Hugging Face repository {repo}: {detail}.",
    # the container
    "empty": "{source} is empty (0 bytes).",
    "not_weights": "{source} is not a weights file: {detail}.",
    "web_page": "{source} is a web page, not weights: the download went wrong. Download the file again.",
    "pointer": "{source} is a Git LFS pointer, not the weights themselves; run `git lfs pull`.",
    "truncated": "{source} is incomplete: {detail}.",
    "damaged": "{source} is damaged and cannot be read: {detail}.",
    "too_large": "{source} claims to unpack from {packed} to {unpacked}; it was refused without being read.",
    "tar": "{source} is in the tar format of PyTorch before 0.1.10, which cannot be opened safely.",
    "torchscript": "{source} is a TorchScript program, not weights; save the model's state_dict instead.",
    "pickle_refused": (
        "{source} is a pickle, and only .safetensors files are accepted here. Convert it on your own "
        "machine with `python -m cfviz convert weights.pth weights.safetensors`."
    ),
    "too_heavy": "{source} is {size}; at most {limit} is accepted.",
    "no_room": (
        "{source} was not opened: all readers together have sent the {limit} MB that this server keeps "
        "for them. Try again in a few minutes."
    ),
    "unsafe_class": (
        "{source} asks for {classes}, which neither weights nor their settings need, so it was not opened; "
        "in the program that wrote it, save only the model's state_dict and open that."
    ),
    # the contents
    "no_tensors": "{source} holds no weights: {detail}.",
    "several_sets": (
        "{source} holds several sets of weights ({sets}); save the one you mean in a file of its own."
    ),
    "conflict": "{source} contradicts itself, so it was not opened: {detail}.",
    "architecture": "{source} is not a CrossFormer: it has {unexpected} where a CrossFormer has {missing}.",
    "keys": "{source} is not a complete {variant}: missing {missing}; unexpected {unexpected}.",
    "unknown_variant": (
        "{source} is a CrossFormer with {found}, which is not a registered variant; the nearest, "
        "{nearest}, differs: {differs}."
    ),
    "shape": "{source}: {key} has shape {got}, {variant} expects {expected}.",
    "does_not_fit": (
        "{source} does not fit the model that was asked for: {key} has shape {got}, "
        "the model expects {expected}."
    ),
    "timm_family": (
        "{source} is a {found}, not a {model}: {missing} of the model's {all} parameters are missing "
        "({first_missing}), {unexpected} are unexpected ({first_unexpected}). Choose the model that was "
        "trained, by timm's name for it."
    ),
    "timm_keys": (
        "{source} does not hold {model}: {missing} of the model's {all} parameters are missing "
        "({first_missing}), {unexpected} are unexpected ({first_unexpected}). Choose the model that was "
        "trained, by timm's name for it."
    ),
    "timm_shape": (
        "{source}: {key} has shape {got}, {model} expects {expected}; {count} of its parameters differ. "
        "Choose the model that was trained, by timm's name for it."
    ),
    "timm_crossformer": (
        "{source} is a CrossFormer, not a {model}; the sidebar and cfviz.create_model open CrossFormers."
    ),
    "timm_weights": (
        "{source} is a {family}, one of timm's models and no CrossFormer: the attention page opens it "
        "(“Other vision transformers”, “Your own fine-tune”), and so does "
        "`cfviz.models.others.opening.open_own(FILE, NAME)`, with timm's name for the model."
    ),
    "timm_name": (
        "{source} is one of timm's models and no CrossFormer: the attention page shows them (“Other vision "
        "transformers”), and so does `cfviz.inspect`, given the model itself: "
        '`timm.create_model("{source}", pretrained=True).eval()`.'
    ),
    "class_names": "{source} has {classes} classes, but {given} names were given; give one for each class.",
    "dtype": "{source}: {key} is {dtype}; allowed are float16, bfloat16, float32 and float64.",
    "no_classes": (
        "{source} has no classifier, so there are no classes to predict; what needs none can still be seen."
    ),
    "no_heads": (
        "{source} has no layers of a detector or segmenter, only those of {found}; "
        'create_model("{found}", weights=...) opens it.'
    ),
    "unknown_heads": (
        "{source} is {kind} on {backbone}, which is not a registered model; those are: {available}."
    ),
    "channels": "{source} is a model for images with {channels} channels; photos have 3.",
    "too_many_classes": "{source} has {found} classes; at most {limit} are accepted.",
    "not_finite": "{source}: {key} holds {count} values that are NaN or infinite (in {tensors} tensors).",
}


class CheckpointError(ValueError):
    """Raised when a checkpoint is refused, with a sentence that says why.

    Args:
        code: A key of `MESSAGES`; the user interface uses it to translate the sentence.
        **fields: Strings and numbers that fill the placeholders.
    """

    def __init__(self, code: str, **fields: object):
        self.code = code
        self.fields = {name: printable(v) if isinstance(v, str) else v for name, v in fields.items()}
        super().__init__(MESSAGES[code].format(**self.fields))

    def __reduce__(self):
        return _rebuild, (self.code, self.fields)


def _rebuild(code: str, fields: dict) -> CheckpointError:
    return CheckpointError(code, **fields)


def printable(text: str, limit: int = 400) -> str:
    """Make foreign text fit into our sentences: drop unprintable characters and shorten it to `limit`."""
    line = "".join(letter for letter in text if letter.isprintable())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def readable_size(count: float) -> str:
    """Format a number of bytes for people: `readable_size(1536) == "1.5 kB"`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def some(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """List the first few names and count the rest: `a, b, c and 9 more`."""
    if not names:
        return "nothing"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
