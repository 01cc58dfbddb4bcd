"""Text as T3 sees it: the reference's punctuation normalisation, and one token per character."""

import json

import torch
from torch import Tensor

CHARACTERS = "!\"&'(),-./0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SPECIAL = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[START]": 255}
FIRST_CHARACTER = 3
REPLACED = (
    ("...", ", "), ("…", ", "), (":", ","), (" - ", ", "), (";", ", "), ("—", "-"), ("–", "-"), (" ,", ","),
    ("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"),
)  # fmt: skip


def punc_norm(text: str) -> str:
    """As ChatterboxTTS.generate does before it tokenizes."""
    if not text:
        return "You need to add some text for me to talk."
    if text[0].islower():
        text = text[0].upper() + text[1:]
    text = " ".join(text.split())
    for old, new in REPLACED:
        text = text.replace(old, new)
    text = text.rstrip(" ")
    return text if text.endswith((".", "!", "?", "-", ",")) else text + "."


def text_ids(normalised: str) -> Tensor:
    """What tokenizer_json() makes of a normalised text."""
    return torch.tensor([
        SPECIAL["[SPACE]"] if c == " " else FIRST_CHARACTER + CHARACTERS.index(c) if c in CHARACTERS
        else SPECIAL["[UNK]"] for c in normalised
    ])  # fmt: skip


def tokenizer_json() -> str:
    """A HuggingFace BPE tokenizer without merges: every character is a token."""
    vocab = SPECIAL | {c: FIRST_CHARACTER + i for i, c in enumerate(CHARACTERS)}
    added = [
        dict(id=i, content=token, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        for token, i in SPECIAL.items()
    ]
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "vocab": dict(sorted(vocab.items(), key=lambda v: v[1])),
            "merges": [],
        },
    }, indent=1) + "\n"  # fmt: skip
