"""Stage "speakers": voice encoder and CAM++ learn to tell the training voices apart."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import audio
from .data import Shards, margin_slice
from .encoders import Speakers
from .presets import SAMPLES_PER_TOKEN
from .stage import Batches, Run, Trainer
from .teachers import VOICE_NUMBER, VOICES

CROP_TOKENS = 80  # 3.2 s: two windows of the voice encoder


class Prototypes(nn.Module):
    """A direction for each voice; logits are scaled cosines."""

    def __init__(self, size: int, scale: float):
        super().__init__()
        self.directions = nn.Parameter(torch.randn(len(VOICES), size))
        self.scale = scale

    def forward(self, vectors: Tensor) -> Tensor:
        return self.scale * F.normalize(vectors, dim=1) @ F.normalize(self.directions, dim=1).T


def crops(folder, rows: int, samples_before: int, samples: int, generator, step: int):
    """Batches of stretches of utterances that begin at a multiple of @p step samples: `wave` int16
    [rows, 2 samples_before + samples] (zeros beyond an utterance's ends) and `voice` [rows]. Half the rows are drawn by
    voice, so that rare voices count too."""
    shards = Shards(folder)
    pick = lambda n: int(torch.randint(n, (), generator=generator))
    while True:
        shards.refresh()
        waves, voices = [], []
        names = list(shards.by_voice)
        for row in range(rows):
            pool = shards.utterances if row % 2 else shards.by_voice[names[pick(len(names))]]
            item = pool[pick(len(pool))]
            first = pick(max(1, (len(item["audio"]) - samples) // step)) * step
            waves.append(margin_slice(item["audio"], first - samples_before, first + samples + samples_before))
            voices.append(VOICE_NUMBER[item["voice"]])
        yield {"wave": torch.from_numpy(np.stack(waves)), "voice": torch.tensor(voices)}


class SpeakersTrainer(Trainer):
    name = "speakers"

    def __init__(self, run: Run):
        self.plan = run.preset.speakers
        super().__init__(run, {
            "model": Speakers(run.preset.dims), "ve_voices": Prototypes(256, 10.0),
            "xvector_voices": Prototypes(192, 20.0),
        })  # fmt: skip

    def dataset(self):
        folder, rows, samples = self.run.shards, self.plan.rows, CROP_TOKENS * SAMPLES_PER_TOKEN
        make = lambda generator: crops(folder, rows, 0, samples, generator, SAMPLES_PER_TOKEN)
        return Batches(self.run.seed * 100 + self.step, make)

    def losses(self, batch):
        model, voice = self.modules["model"], batch["voice"]
        wave = batch["wave"].float() / 32768
        wave = wave + torch.randn_like(wave) * 1e-4  # beyond the end of a short utterance, too
        gain = 10 ** (0.3 * (torch.rand(len(wave), 1, device=wave.device) * 2 - 1))
        wave16 = audio.to_16k(wave * gain)
        windows = audio.voice_mel(wave16).unfold(1, 160, 160).transpose(2, 3).flatten(0, 1)
        ve_loss = F.cross_entropy(self.modules["ve_voices"](model.ve(windows)), voice.repeat_interleave(2))
        logits = self.modules["xvector_voices"](model.speaker_encoder(audio.fbank(wave16)))
        xvector_loss = F.cross_entropy(logits, voice)
        return {
            "loss": ve_loss + xvector_loss,
            "ve": ve_loss,
            "xvector": xvector_loss,
            "xvector_error": (logits.argmax(1) != voice).float().mean(),
        }
