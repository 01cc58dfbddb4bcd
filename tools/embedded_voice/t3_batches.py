"""Batches for T3: utterances padded for the embeddings, packed for the backbone."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .models.t3 import CONDITIONING_ROWS
from .presets import CODEBOOK

START_TEXT, STOP_TEXT = 255, 0
START_SPEECH, STOP_SPEECH = CODEBOOK, CODEBOOK + 1
FIXED_ROWS = CONDITIONING_ROWS + 2 + 2  # of an utterance: conditioning, text start and stop, start-of-speech twice


def rows_of(item: dict) -> int:
    return FIXED_ROWS + len(item["text"]) + len(item["speech"])


def collate(items: list[dict], padded_length: int = 0) -> dict[str, Tensor]:
    """@p items: text ids and speech tokens [n] of an utterance, `inputs` (what is fed in place of its tokens, if not
    the tokens themselves), speaker [256], prompt [1…150], emotion, text_kept (0: the words are withheld).

    `order` [rows, length] says which row of the padded concatenation [conditioning | text | start | start, speech]
    stands at each packed position; positions beyond an utterance's end repeat its first row, which is harmless: they
    come last, attention is causal, and nobody asks for their answers. `answer_rows` and `answers` list, utterance by
    utterance, the packed rows that predict speech and what they should say. `padded_length`, if not 0, fixes the
    length.
    """
    text = [torch.cat((torch.tensor([START_TEXT]), i["text"], torch.tensor([STOP_TEXT]))) for i in items]
    speech = [torch.cat((torch.tensor([START_SPEECH]), i.get("inputs", i["speech"]))) for i in items]
    longest_text, longest_speech = max(map(len, text)), max(map(len, speech))
    row_size = CONDITIONING_ROWS + longest_text + 1 + longest_speech
    length = padded_length or max(map(rows_of, items))
    order, answer_rows, answers = [], [], []
    for i, item in enumerate(items):
        speech_from = CONDITIONING_ROWS + longest_text
        own = torch.cat((
            torch.arange(CONDITIONING_ROWS + len(text[i])),
            torch.arange(speech_from, speech_from + 1 + len(speech[i])),
        ))  # fmt: skip
        order.append(i * row_size + torch.cat((own, torch.zeros(length - len(own), dtype=torch.long))))
        answer_rows.append(i * length + torch.arange(len(own) - len(speech[i]), len(own)))
        answers += [item["speech"], torch.tensor([STOP_SPEECH])]
    return {
        "text": pad_sequence(text, batch_first=True),
        "speech": pad_sequence(speech, batch_first=True),
        "speaker": torch.stack([i["speaker"] for i in items]),
        "prompt": pad_sequence([i["prompt"] for i in items], batch_first=True),
        "prompt_lengths": torch.tensor([len(i["prompt"]) for i in items]),
        "emotion": torch.tensor([i["emotion"] for i in items]),
        "text_kept": torch.tensor([i["text_kept"] for i in items]),
        "order": torch.stack(order),
        "answer_rows": torch.cat(answer_rows),
        "answers": torch.cat(answers),
    }
