"""Stage "t3": text to tokens.

Every row: an utterance's text and tokens, the speaker vector and the prompt tokens of *another* utterance of the same
voice, so that the voice comes from the conditioning and nothing can be copied. In 15 % of the rows the words are
withheld, which is the row that guidance subtracts. Up to a fifth of the tokens fed to a row are replaced by others,
because at inference it will read its own mistakes. The emotion value is random: it means nothing in this model.
"""

import torch
import torch.nn.functional as F

from .data import Shards
from .encoders import trained_encoders
from .models.t3 import T3
from .presets import PROMPT_TOKENS
from .stage import Batches, Run, Trainer
from .t3_batches import collate, rows_of
from .text_norm import text_ids

TEXT_WITHHELD = 0.15
MOST_REPLACED = 0.2
LENGTH_STEP = 64  # padded lengths are multiples of it: few shapes


class T3Trainer(Trainer):
    name = "t3"

    def __init__(self, run: Run):
        self.plan = run.preset.t3
        super().__init__(run, {"model": T3(run.preset.dims)})
        _, self.fingerprint = trained_encoders(run)

    def make_optimizers(self):
        """Muon for the backbone's matrices, its steps as large as AdamW's; AdamW for tables, norms and the rest."""
        matrices = [p for p in self.modules["model"].tfmr.layers.parameters() if p.dim() == 2]
        chosen = set(matrices)
        others = [p for p in self.modules["model"].parameters() if p.requires_grad and p not in chosen]
        return [
            torch.optim.AdamW(others, self.plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
            torch.optim.Muon(matrices, self.plan.rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        ]

    def dataset(self):
        folder, fingerprint, positions = self.run.shards, self.fingerprint, self.plan.rows

        def make(generator):
            shards = Shards(folder, fingerprint)
            uniform = lambda: float(torch.rand((), generator=generator))
            pick = lambda items: items[int(uniform() * len(items))]
            buckets: dict[int, list[dict]] = {}
            while True:
                shards.refresh()
                item = self.item(pick(shards.utterances), shards, uniform, pick)
                length = -(-rows_of(item) // LENGTH_STEP) * LENGTH_STEP
                bucket = buckets.setdefault(length, [])
                bucket.append(item)
                if len(bucket) * length >= positions:
                    yield collate(buckets.pop(length), length)

        return Batches(self.run.seed * 100 + self.step, make)

    @staticmethod
    def item(utterance: dict, shards: Shards, uniform, pick) -> dict:
        other = pick(shards.by_voice[utterance["voice"]])
        # Clones have up to 6 s, the built-in voices 3 s.
        shortest = PROMPT_TOKENS // 3
        prompt = torch.from_numpy(other["tokens"].astype("int64"))
        prompt = prompt[: shortest + int(uniform() * (PROMPT_TOKENS + 1 - shortest))]
        speech = torch.from_numpy(utterance["tokens"].astype("int64"))
        others = torch.from_numpy(pick(shards.utterances)["tokens"].astype("int64"))
        replaced = torch.rand(len(speech)) < MOST_REPLACED * uniform()
        inputs = torch.where(replaced, others[torch.randint(len(others), (len(speech),))], speech)
        return {
            "text": text_ids(utterance["text"]), "speech": speech, "inputs": inputs,
            "speaker": torch.from_numpy(other["speaker"]), "prompt": prompt, "emotion": uniform(),
            "text_kept": float(uniform() >= TEXT_WITHHELD),
        }  # fmt: skip

    def losses(self, batch):
        with self.run.autocast():
            logits = self.modules["model"].loss_logits(batch)
        loss = F.cross_entropy(logits.float(), batch["answers"])
        return {"loss": loss, "accuracy": (logits.argmax(-1) == batch["answers"]).float().mean()}
