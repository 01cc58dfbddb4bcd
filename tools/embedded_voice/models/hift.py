"""HiFT: mel to waveform. F0 predictor, harmonic source, upsampling with Snake residual blocks, inverse STFT, as in
the reference's models/s3gen/hifigan.py (HiFTNet, arXiv:2309.09493). Keys: `mel2wav.` of s3gen.safetensors."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ..presets import SAMPLE_RATE

HARMONICS = 9
SAMPLES_PER_FRAME = 480
VOICED_ABOVE_HZ = 10.0


class Snake(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        alpha = self.alpha[:, None]
        return x + torch.sin(x * alpha).square() / (alpha + 1e-9)


def conv(channels_in, channels, kernel, dilation=1):
    """Weight-normalised, same length."""
    return weight_norm(
        nn.Conv1d(channels_in, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
    )


class ResBlock(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations=(1, 3, 5)):
        super().__init__()
        self.convs1 = nn.ModuleList(conv(channels, channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(conv(channels, channels, kernel) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x):
        for a1, c1, a2, c2 in zip(self.activations1, self.convs1, self.activations2, self.convs2):
            x = x + c2(a2(c1(a1(x))))
        return x


class F0Predictor(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        layers = []
        for i in range(5):
            layers += [conv(80 if i == 0 else channels, channels, 3), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 1)
        # Hertz: the reach of a plain initialisation is a few units, that of speech some hundred.
        nn.init.normal_(self.classifier.weight, std=10.0)
        nn.init.constant_(self.classifier.bias, 100.0)

    def forward(self, mel: Tensor) -> Tensor:
        """[rows, 80, frames] -> F0 in Hz [rows, frames], at most 10 where unvoiced."""
        return self.classifier(self.condnet(mel).transpose(1, 2)).squeeze(-1).abs()


class Source(nn.Module):
    def __init__(self):
        super().__init__()
        self.l_linear = nn.Linear(HARMONICS, 1)

    def forward(self, f0: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
        """f0 [rows, frames], phase [rows, 9, 1] (the fundamental's counts as 0), noise [rows, 9, samples] of unit
        variance -> [rows, 1, samples]. The sum over samples runs in double: in fp32 it drifts within a second."""
        phase = torch.cat((torch.zeros_like(phase[:, :1]), phase[:, 1:]), dim=1)
        f0 = f0.repeat_interleave(SAMPLES_PER_FRAME, dim=1)[:, None]
        harmonic = torch.arange(1, HARMONICS + 1, device=f0.device, dtype=f0.dtype)[:, None]
        cycles = torch.cumsum(f0 * harmonic / SAMPLE_RATE, dim=2, dtype=torch.float64).float()
        sines = 0.1 * torch.sin(2 * math.pi * (cycles % 1) + phase)
        voiced = (f0 > VOICED_ABOVE_HZ).float()
        waves = sines * voiced + noise * (voiced * 0.003 + (1 - voiced) * 0.1 / 3)
        return torch.tanh(self.l_linear(waves.transpose(1, 2))).transpose(1, 2)


def random_source_draws(rows: int, samples: int, device, generator=None) -> tuple[Tensor, Tensor]:
    """Initial phases and noise for Source; @p generator is one of the device."""
    phase = (torch.rand(rows, HARMONICS, 1, device=device, generator=generator) * 2 - 1) * math.pi
    return phase, torch.randn(rows, HARMONICS, samples, device=device, generator=generator)


class HiFT(nn.Module):
    def __init__(self, d):
        super().__init__()
        base, rates, kernels = d.hift_base_channels, (8, 5, 3), (16, 11, 7)
        self.m_source = Source()
        self.conv_pre = conv(80, base, 7)
        self.ups = nn.ModuleList()
        self.source_downs = nn.ModuleList()
        self.source_resblocks = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for i, (rate, kernel) in enumerate(zip(rates, kernels)):
            channels = base // 2 ** (i + 1)
            self.ups.append(
                weight_norm(nn.ConvTranspose1d(2 * channels, channels, kernel, rate, padding=(kernel - rate) // 2))
            )
            down = math.prod(rates[i + 1 :])
            self.source_downs.append(
                nn.Conv1d(18, channels, 1) if down == 1 else nn.Conv1d(18, channels, 2 * down, down, padding=down // 2)
            )
            self.source_resblocks.append(ResBlock(channels, (7, 7, 11)[i]))
            self.resblocks.extend(ResBlock(channels, k) for k in (3, 7, 11))
        self.conv_post = conv(channels, 18, 7)
        self.f0_predictor = F0Predictor(d.hift_f0_channels)

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """mel [rows, 80, frames], source [rows, 1, 480 frames] -> waveform [rows, 480 frames]."""
        window = torch.hann_window(16, device=mel.device)
        spectrum = torch.view_as_real(torch.stft(source[:, 0].float(), 16, 4, window=window, return_complex=True))
        spectrum = torch.cat((spectrum[..., 0], spectrum[..., 1]), dim=1)
        x = self.conv_pre(mel)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            if i == len(self.ups) - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[i](self.source_downs[i](spectrum))
            x = sum(block(x) for block in self.resblocks[3 * i : 3 * i + 3]) / 3
        x = self.conv_post(F.leaky_relu(x)).float()
        magnitude, angle = x[:, :9].exp().clamp(max=100.0), x[:, 9:].sin()
        return torch.istft(torch.polar(magnitude, angle), 16, 4, window=window).clamp(-0.99, 0.99)

    @torch.inference_mode()
    def synthesise(self, mel: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """mel [80, frames] -> waveform [480 frames], faded in over 40 ms as the reference does."""
        f0 = self.f0_predictor(mel[None])
        source = self.m_source(f0, *random_source_draws(1, mel.shape[1] * SAMPLES_PER_FRAME, mel.device, generator))
        wave = self.decode(mel[None], source)[0]
        fade = torch.zeros(960, device=mel.device)
        fade[480:] = (torch.cos(torch.linspace(math.pi, 0, 480, device=mel.device)) + 1) / 2
        wave[:960] *= fade[: wave.shape[0]]
        return wave
