"""Signal processing of the reference in torch, without its libraries: mels, Kaldi filter banks, resampling, F0."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .presets import SAMPLE_RATE, TOKENIZER_RATE

MEL_MARGIN = 720  # samples that a mel frame sees on either side of its own 480


@functools.cache
def slaney_filters(rate: int, n_fft: int, bands: int, f_max: float) -> Tensor:
    """[bands, n_fft / 2 + 1]: triangles on the Slaney mel scale from 0 Hz, area-normalised, as librosa's default."""
    hz_per_mel, log_from, log_step = 200.0 / 3, 1000.0, math.log(6.4) / 27
    top = f_max / hz_per_mel if f_max < log_from else log_from / hz_per_mel + math.log(f_max / log_from) / log_step
    mels = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    knee = log_from / hz_per_mel
    edges = torch.where(mels < knee, mels * hz_per_mel, log_from * torch.exp(log_step * (mels - knee)))
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    slopes = edges[:, None] - bins
    rising = -slopes[:-2] / (edges[1:-1] - edges[:-2])[:, None]
    falling = slopes[2:] / (edges[2:] - edges[1:-1])[:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


def mel_of_padded(wave: Tensor) -> Tensor:
    """Natural-log mel at 24 kHz, [..., samples + 2 · 720] -> [..., 80, samples / 480]: frame j is centred on sample
    480 j + 240 of the inner part."""
    window = torch.hann_window(1920, device=wave.device)
    spectrum = torch.stft(wave.float(), 1920, 480, window=window, center=False, return_complex=True)
    magnitude = torch.sqrt(torch.view_as_real(spectrum).square().sum(-1) + 1e-9)
    return torch.log((slaney_filters(SAMPLE_RATE, 1920, 80, 8000).to(wave.device) @ magnitude).clamp(min=1e-5))


def mel24(wave: Tensor) -> Tensor:
    """The same of a whole clip, [rows, samples], reflected at its ends as the reference does."""
    return mel_of_padded(F.pad(wave[:, None], (MEL_MARGIN, MEL_MARGIN), mode="reflect")[:, 0])


def tokenizer_mel(wave16: Tensor) -> Tensor:
    """Log-mel of the speech tokenizer, [rows, samples] at 16 kHz -> [rows, 128, samples / 160]; the floor is 8 below
    each row's maximum (padding with zeros does not move it)."""
    window = torch.hann_window(400, device=wave16.device)
    spectrum = torch.stft(wave16, 400, 160, window=window, return_complex=True)[..., :-1]
    mel = slaney_filters(TOKENIZER_RATE, 400, 128, 8000).to(wave16.device) @ spectrum.abs().square()
    log = mel.clamp(min=1e-10).log10()
    return (torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def voice_mel(wave16: Tensor) -> Tensor:
    """Power mel of the voice encoder, [rows, samples] -> [rows, frames, 40]."""
    window = torch.hann_window(400, device=wave16.device)
    power = torch.stft(wave16, 400, 160, window=window, return_complex=True).abs().square()
    return (slaney_filters(TOKENIZER_RATE, 400, 40, 8000).to(wave16.device) @ power).transpose(1, 2)


def trim_silence(wave16: Tensor) -> Tensor:
    """[samples] without the ends more than 20 dB below the loudest frame (frames of 2048, hop 512, centred)."""
    frames = F.pad(wave16, (1024, 1024)).unfold(0, 2048, 512)
    level = frames.square().mean(1)
    loud = torch.nonzero(level > level.max() * 0.01).flatten()
    if len(loud) == 0:
        return wave16
    return wave16[int(loud[0]) * 512 : min(len(wave16), (int(loud[-1]) + 1) * 512)]


@functools.cache
def kaldi_filters() -> Tensor:
    """[80, 257]: triangles on Kaldi's mel scale, 20 Hz to 8 kHz."""
    mel = lambda hz: 1127.0 * torch.log1p(torch.as_tensor(hz, dtype=torch.float64) / 700.0)
    low, high = mel(20.0), mel(8000.0)
    centres = low + torch.arange(82, dtype=torch.float64) * (high - low) / 81
    bins = mel(torch.arange(256, dtype=torch.float64) * TOKENIZER_RATE / 512)
    rising = (bins - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    falling = (centres[2:, None] - bins) / (centres[2:] - centres[1:-1])[:, None]
    return F.pad(torch.minimum(rising, falling).clamp(min=0), (0, 1)).float()


def fbank(wave16: Tensor) -> Tensor:
    """Kaldi's 80 log filter banks without dither, [rows, samples] -> [rows, frames, 80], each row's mean subtracted."""
    frames = wave16.unfold(1, 400, 160)
    frames = frames - frames.mean(-1, keepdim=True)
    frames = frames - 0.97 * torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
    window = torch.hann_window(400, periodic=False, device=wave16.device) ** 0.85
    power = torch.fft.rfft(frames * window, n=512).abs().square()
    banks = (power @ kaldi_filters().to(wave16.device).T).clamp(min=torch.finfo(torch.float32).eps).log()
    return banks - banks.mean(1, keepdim=True)


@functools.cache
def resampling_kernel(up: int, down: int, width: int = 6, rolloff: float = 0.99) -> tuple[Tensor, int]:
    """Windowed sinc for a ratio up / down: [up, 1, taps] and the padding on the left."""
    base = min(up, down) * rolloff
    half = math.ceil(width * down / base)
    time = torch.arange(-half, half + down, dtype=torch.float64)[None] / down
    time = (torch.arange(0, -up, -1, dtype=torch.float64)[:, None] / up + time) * base
    time = time.clamp(-width, width)
    kernel = torch.sinc(time) * torch.cos(time * math.pi / width / 2) ** 2 * base / down
    return kernel[:, None].float(), half


def resample(wave: Tensor, up: int, down: int) -> Tensor:
    """[rows, samples] -> [rows, ceil(samples · up / down)]; as torchaudio's windowed sinc."""
    common = math.gcd(up, down)
    up, down = up // common, down // common
    if up == down:
        return wave
    kernel, half = resampling_kernel(up, down)
    padded = F.pad(wave[:, None], (half, half + down))
    out = F.conv1d(padded, kernel.to(wave.device), stride=down).transpose(1, 2).flatten(1)
    return out[:, : -(-wave.shape[1] * up // down)]


def to_16k(wave: Tensor) -> Tensor:
    return resample(wave, TOKENIZER_RATE, SAMPLE_RATE)


def f0_of_padded(wave: Tensor, low_hz: float = 60.0, high_hz: float = 420.0) -> Tensor:
    """F0 in Hz, 0 where unvoiced, by normalised autocorrelation: [rows, samples + 2 · 720] -> [rows, samples / 480],
    on the frames of mel_of_padded."""
    frames = wave.float().unfold(1, 1920, 480)
    frames = frames - frames.mean(-1, keepdim=True)
    longest, shortest = int(SAMPLE_RATE / low_hz), int(SAMPLE_RATE / high_hz)
    part = 1920 - longest  # compared with itself `lag` samples later: every lag over as many samples
    spectrum = torch.fft.rfft(frames, n=4096)
    head = torch.fft.rfft(frames[..., :part], n=4096)
    products = torch.fft.irfft(spectrum * head.conj(), n=4096)[..., : longest + 1]
    energy = F.pad(frames.square().cumsum(-1), (1, 0))
    later = energy[..., part : part + longest + 1] - energy[..., : longest + 1]
    correlation = products / torch.sqrt(later * later[..., :1] + 1e-6)
    # Next to lag 0 everything resembles itself: what counts begins where the first descent has ended.
    correlation = torch.where((correlation < 0.5).cumsum(-1) > 0, correlation, torch.zeros_like(correlation))
    candidates = correlation[..., shortest : longest + 1]
    best = candidates.amax(-1, keepdim=True)
    # The top of the first peak nearly as good as the best one: multiples of the period score as well.
    first = (candidates > 0.9 * best).float().argmax(-1, keepdim=True)
    around = (first + torch.arange(24, device=wave.device)).clamp(max=candidates.shape[-1] - 1)
    peak = around.gather(-1, candidates.gather(-1, around).argmax(-1, keepdim=True))
    peak = peak.clamp(1, candidates.shape[-1] - 2)
    left, top, right = (candidates.gather(-1, peak + k)[..., 0] for k in (-1, 0, 1))
    bend = (left - 2 * top + right).clamp(max=-1e-6)
    lag = peak[..., 0] + shortest + (0.5 * (left - right) / bend).clamp(-0.5, 0.5)  # of the parabola through the top
    voiced = (best[..., 0] > 0.55) & (frames.square().mean(-1) > 1e-5)
    return torch.where(voiced, SAMPLE_RATE / lag, torch.zeros_like(lag))
