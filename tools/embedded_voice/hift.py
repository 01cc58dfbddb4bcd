"""Stage "hift": mel to waveform.

While training the harmonic source follows the true F0; the F0 head is taught beside it. Losses on log magnitudes of
five resolutions and on the mel; in the last part of the plan small discriminators join. The state before they do is
kept as state/hift-before-gan.pt.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from . import audio
from .data import Shards, margin_slice
from .models.hift import SAMPLES_PER_FRAME, HiFT, random_source_draws
from .stage import Batches, Run, Trainer, save_atomically

MARGIN = audio.MEL_MARGIN
RESOLUTIONS = (256, 512, 1024, 2048, 4096)
PERIODS = (2, 3, 5, 7, 11)
STFT_JUDGES = (512, 1024, 2048)


def log_magnitude(wave: Tensor, n_fft: int) -> Tensor:
    window = torch.hann_window(n_fft, device=wave.device)
    spectrum = torch.stft(wave, n_fft, n_fft // 4, window=window, return_complex=True)
    return torch.view_as_real(spectrum).square().sum(-1).clamp(min=1e-7).log() / 2


def spectral_loss(said: Tensor, wanted: Tensor) -> Tensor:
    """L1 of log magnitudes plus spectral convergence, mean over the resolutions."""
    loss = 0
    for n_fft in RESOLUTIONS:
        a, b = log_magnitude(said, n_fft), log_magnitude(wanted, n_fft)
        loss = loss + F.l1_loss(a, b) + (a.exp() - b.exp()).norm() / b.exp().norm()
    return loss / len(RESOLUTIONS)


def outputs(layers: nn.ModuleList, last: nn.Module, x: Tensor) -> list[Tensor]:
    """What a judge's convolutions say one after the other, its verdict at the end."""
    seen = []
    for layer in layers:
        x = F.leaky_relu(layer(x), 0.1)
        seen.append(x)
    return [*seen, last(x)]


class PeriodJudge(nn.Module):
    def __init__(self, period: int):
        super().__init__()
        self.period = period
        sizes = (1, 16, 64, 128, 128)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0))) for a, b in zip(sizes, sizes[1:])
        )
        self.out = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> list[Tensor]:
        x = F.pad(wave, (0, -wave.shape[1] % self.period)).unflatten(1, (-1, self.period))[:, None]
        return outputs(self.layers, self.out, x)


class StftJudge(nn.Module):
    def __init__(self, n_fft: int):
        super().__init__()
        self.n_fft = n_fft
        sizes = (1, 32, 32, 32, 32)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (9, 3), (2, 1), (4, 1))) for a, b in zip(sizes, sizes[1:])
        )
        self.out = weight_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, wave: Tensor) -> list[Tensor]:
        x = log_magnitude(wave, self.n_fft)[:, None]
        return outputs(self.layers, self.out, x)


class Judges(nn.Module):
    def __init__(self):
        super().__init__()
        self.judges = nn.ModuleList([*map(PeriodJudge, PERIODS), *map(StftJudge, STFT_JUDGES)])

    def forward(self, wave: Tensor) -> list[list[Tensor]]:
        return [judge(wave) for judge in self.judges]


class HiftTrainer(Trainer):
    name = "hift"

    def __init__(self, run: Run):
        self.plan = run.preset.hift
        super().__init__(run, {"model": HiFT(run.preset.dims), "judges": Judges()})
        self.joined = False  # whether the discriminators have had a say since they were last kept out

    def make_optimizers(self):
        adamw = lambda module, rate: torch.optim.AdamW(
            module.parameters(), rate, betas=(0.8, 0.99), weight_decay=0.0, fused=True
        )
        return [adamw(self.modules["model"], self.plan.rate), adamw(self.modules["judges"], 2e-4)]

    def load(self, state):
        super().load(state)
        self.joined = self.with_judges

    def dataset(self):
        folder, rows, frames = self.run.shards, self.plan.rows, self.run.preset.hift_frames

        def make(generator):
            shards = Shards(folder)
            pick = lambda n: int(torch.randint(n, (), generator=generator))
            voices = list(shards.by_voice)
            while True:
                shards.refresh()
                waves = []
                for row in range(rows):  # a quarter of the rows by voice: rare voices count too
                    pool = shards.utterances if row % 4 else shards.by_voice[voices[pick(len(voices))]]
                    samples = pool[pick(len(pool))]["audio"]
                    first = pick(max(1, len(samples) // SAMPLES_PER_FRAME - frames)) * SAMPLES_PER_FRAME
                    waves.append(
                        torch.from_numpy(
                            margin_slice(samples, first - MARGIN, first + frames * SAMPLES_PER_FRAME + MARGIN)
                        )
                    )
                yield {"wave": torch.stack(waves)}

        return Batches(self.run.seed * 100 + self.step + 2, make)

    @property
    def with_judges(self) -> bool:
        return self.progress >= self.run.preset.gan_from

    def train_step(self, batch):
        model: HiFT = self.modules["model"]
        padded = batch["wave"].float() / 32768
        wanted = padded[:, MARGIN:-MARGIN]
        mel, f0 = audio.mel_of_padded(padded), audio.f0_of_padded(padded)
        said_f0 = model.f0_predictor(mel)
        with torch.no_grad():
            draws = random_source_draws(len(wanted), wanted.shape[1], wanted.device)
        said = model.decode(mel, model.m_source(f0, *draws))

        losses = {"spectral": spectral_loss(said, wanted)}
        losses["mel"] = F.l1_loss(audio.mel_of_padded(F.pad(said, (MARGIN, MARGIN)))[..., 2:-2], mel[..., 2:-2])
        losses["f0"] = F.l1_loss(said_f0, f0) / 100
        total = losses["spectral"] + 0.5 * losses["mel"] + losses["f0"]
        if self.with_judges:
            if not self.joined:
                save_atomically(self.state(), self.run.state_file("hift-before-gan"))
                self.joined = True
            losses["judges"] = self.teach_judges(said.detach(), wanted)
            total = total + 0.1 * self.verdict(said, wanted)
        self.optimizers[0].zero_grad(set_to_none=True)
        total.backward()
        self.clip_and_step(self.optimizers[0])
        losses["f0_voicing_error"] = ((said_f0 > 10) != (f0 > 10)).float().mean()
        return {"loss": total, "judges": total.new_zeros(()), **losses}

    def teach_judges(self, said: Tensor, wanted: Tensor) -> Tensor:
        """Least squares: 1 for what was recorded, 0 for what was made."""
        loss = sum(
            (1 - real[-1]).square().mean() + made[-1].square().mean()
            for real, made in zip(self.modules["judges"](wanted), self.modules["judges"](said))
        )
        self.optimizers[1].zero_grad(set_to_none=True)
        loss.backward()
        self.clip_and_step(self.optimizers[1])
        return loss

    def verdict(self, said: Tensor, wanted: Tensor) -> Tensor:
        """To be taken for recorded, and to look the same to the judges' inner layers."""
        with torch.no_grad():
            real = self.modules["judges"](wanted)
        loss = 0
        for r, m in zip(real, self.modules["judges"](said)):
            loss = loss + (1 - m[-1]).square().mean() + 2 * sum(F.l1_loss(a, b) for a, b in zip(m[:-1], r[:-1]))
        return loss
