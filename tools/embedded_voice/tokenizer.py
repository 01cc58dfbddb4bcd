"""Stage "tokenizer": the FSQ speech tokenizer.

It learns to let a small decoder, which is told the voice, restore the mel of each token's 40 ms from its eight ternary
digits. What the decoder knows already need not be in the tokens, nor what changes within them. The same speech a few
milliseconds later should give the same digits: what does not stay is what T3 could only guess.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import audio
from .models.s3tokenizer import DIGITS, SpeechTokenizer, token_ids
from .presets import FRAMES_PER_TOKEN, SAMPLES_PER_TOKEN
from .speakers import crops
from .stage import Batches, Run, Trainer
from .teachers import VOICES

CROP_TOKENS = 80
FARTHEST_SHIFT = 300  # samples at 24 kHz: 12.5 ms, a third of a token
STEADINESS = 0.3  # weight of the difference between the digits of both, against the mel's error in nats
ROUNDING_NOISE = 0.25


class MelDecoder(nn.Module):
    """Digits and voice to the mean mel of each token, for training only: [rows, tokens, 8] -> [rows, 80, tokens]."""

    def __init__(self, size: int = 256, layers: int = 4):
        super().__init__()
        self.voice = nn.Embedding(len(VOICES), size)
        self.digits = nn.Linear(DIGITS, size)
        self.layers = nn.ModuleList(nn.Conv1d(size, size, 5, padding=2) for _ in range(layers))
        self.out = nn.Linear(size, 80)
        nn.init.constant_(self.out.bias, -6.0)  # about the mean of log mels

    def forward(self, digits: Tensor, voice: Tensor) -> Tensor:
        x = (self.digits(digits) + self.voice(voice)[:, None]).transpose(1, 2)
        for layer in self.layers:
            x = x + layer(F.gelu(x))
        return self.out(x.transpose(1, 2)).transpose(1, 2)


def rounded_straight_through(digits: Tensor, noise: float) -> Tensor:
    """-1, 0, 1 forwards, the identity backwards; noise before rounding makes values keep away from the borders."""
    noisy = digits + noise * (torch.rand_like(digits) * 2 - 1)
    return digits + (noisy.clamp(-1, 1).round() - digits).detach()


class TokenizerTrainer(Trainer):
    name = "tokenizer"

    def __init__(self, run: Run):
        self.plan = run.preset.tokenizer
        super().__init__(run, {"model": SpeechTokenizer(run.preset.dims), "decoder": MelDecoder()})

    def dataset(self):
        folder, rows, samples = self.run.shards, self.plan.rows, CROP_TOKENS * SAMPLES_PER_TOKEN
        make = lambda generator: crops(folder, rows, audio.MEL_MARGIN + FARTHEST_SHIFT, samples, generator, 1)
        return Batches(self.run.seed * 100 + self.step + 3, make)

    def digits(self, wave: Tensor) -> Tensor:
        gain = 10 ** (0.3 * (torch.rand(len(wave), 1, device=wave.device) * 2 - 1))
        log_mel = audio.tokenizer_mel(audio.to_16k(wave * gain))
        lengths = torch.full((len(wave),), CROP_TOKENS, device=wave.device)
        return self.modules["model"].digits(log_mel, lengths)

    def losses(self, batch):
        wave = batch["wave"].float() / 32768
        wave = wave + torch.randn_like(wave) * 1e-4  # beyond the end of a short utterance, too
        margin, crop = audio.MEL_MARGIN, CROP_TOKENS * SAMPLES_PER_TOKEN
        begin = margin + FARTHEST_SHIFT
        shift = int(torch.randint(-FARTHEST_SHIFT, FARTHEST_SHIFT + 1, ()))
        digits = self.digits(wave[:, begin : begin + crop])
        shifted = self.digits(wave[:, begin + shift : begin + shift + crop])

        mel = audio.mel_of_padded(wave[:, begin - margin : begin + crop + margin])
        mel = F.avg_pool1d(mel, FRAMES_PER_TOKEN)
        restored = self.modules["decoder"](rounded_straight_through(digits, ROUNDING_NOISE), batch["voice"])
        mel_loss = F.l1_loss(restored, mel)
        moved = (digits - shifted).abs().mean()
        ids = token_ids(digits)
        return {
            "loss": mel_loss + STEADINESS * moved,
            "mel_l1": mel_loss,
            "mel_rmse": (restored - mel).square().mean().sqrt(),
            "moved": moved,
            "same_when_shifted": (ids == token_ids(shifted)).float().mean(),
            "codes_used": torch.tensor(len(ids.unique()), device=wave.device).float(),
        }
