"""Token i is mel frames 2i and 2i + 1 is samples 960 i … 960 i + 959, in every place where audio is cut."""

import math
from fractions import Fraction

import numpy as np
import torch

from embedded_voice import audio
from embedded_voice.data import margin_slice
from embedded_voice.flow import MARGIN, draw_row, mel_of_joined
from embedded_voice.presets import SAMPLE_RATE, SAMPLES_PER_TOKEN
from embedded_voice.teachers import to_utterance


def noise(tokens: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(0, 3000, tokens * SAMPLES_PER_TOKEN)).astype(np.int16)


def voiced(hz: float, seconds: float, rate: int = SAMPLE_RATE) -> torch.Tensor:
    time = torch.arange(int(seconds * rate)) / rate
    return sum(torch.sin(2 * math.pi * hz * k * time) / k for k in range(1, 9)) * 0.1


def test_a_click_lies_in_the_frames_of_its_token():
    wave = torch.zeros(1, 20 * SAMPLES_PER_TOKEN)
    wave[0, 7 * SAMPLES_PER_TOKEN + 480] = 1.0  # the middle of token 7, where its two frames meet
    mel = audio.mel24(wave)[0].exp().sum(0)
    assert mel.shape == (40,)
    assert set(mel.topk(2).indices.tolist()) == {14, 15}


def test_a_crop_with_margins_has_the_frames_of_the_whole():
    samples = noise(30, 1)
    whole = audio.mel24(torch.from_numpy(samples.astype(np.float32))[None])[0]
    first, last = 4 * SAMPLES_PER_TOKEN, 11 * SAMPLES_PER_TOKEN
    crop = margin_slice(samples, first - MARGIN, last + MARGIN)
    mel = audio.mel_of_padded(torch.from_numpy(crop.astype(np.float32))[None])[0]
    torch.testing.assert_close(mel, whole[:, 8:22])


def test_margins_outside_an_utterance_are_zero():
    samples = noise(2, 2)
    padded = margin_slice(samples, -5, len(samples) + 7)
    assert len(padded) == len(samples) + 12
    assert not padded[:5].any() and not padded[-7:].any()
    assert (padded[5:-7] == samples).all()
    assert not margin_slice(samples, len(samples) + 10, len(samples) + 20).any()


def test_prompt_and_stretch_keep_their_own_frames_and_tokens():
    item = {"audio": noise(12, 3), "tokens": np.arange(100, 112, dtype=np.uint16)}
    other = {"audio": noise(9, 4), "tokens": np.arange(200, 209, dtype=np.uint16)}
    wave, ids = draw_row(10, 4, item, other, first=5)
    assert ids.tolist() == [200, 201, 202, 203, 105, 106, 107, 108, 109, 110]
    mel = mel_of_joined(wave[None].float(), torch.tensor([4]))[0]
    assert mel.shape == (80, 20)
    of = lambda samples: audio.mel24(torch.from_numpy(samples.astype(np.float32))[None])[0]
    # A prompt begins where its clip does; there the frame sees zeros instead of the mirrored clip.
    torch.testing.assert_close(mel[:, 2:8], of(other["audio"])[:, 2:8])
    torch.testing.assert_close(mel[:, 8:], of(item["audio"])[:, 10:22])


def test_tokens_past_the_end_of_an_utterance_are_marked():
    item = {"audio": noise(6, 3), "tokens": np.arange(6, dtype=np.uint16)}
    _, ids = draw_row(10, 0, item, item, first=0)
    assert ids.tolist() == [0, 1, 2, 3, 4, 5, -1, -1, -1, -1]


def test_an_utterance_is_whole_tokens_with_lead_tail_and_level():
    spoken = np.concatenate([np.zeros(3000), voiced(120, 1.0, 16_000).numpy() * 8000, np.zeros(5000)]).astype(np.int16)
    out = to_utterance(spoken, 16_000, Fraction(1), seed=1)
    assert len(out) % SAMPLES_PER_TOKEN == 0
    loud = np.nonzero(np.abs(out.astype(int)) > 200)[0]
    assert abs(loud[0] - 0.06 * SAMPLE_RATE) < 0.011 * SAMPLE_RATE
    assert 0.14 * SAMPLE_RATE < len(out) - loud[-1] < 0.21 * SAMPLE_RATE
    assert abs((loud[-1] - loud[0]) / SAMPLE_RATE - 1.0) < 0.02
    assert 0 < np.abs(out[:500]).max() < 30, "silence is a trace of noise, not zero"


def test_scaling_a_voice_moves_its_pitch():
    spoken = (voiced(120, 1.0, 16_000).numpy() * 20_000).astype(np.int16)
    for scale in (Fraction(86, 100), Fraction(1), Fraction(115, 100)):
        out = torch.from_numpy(to_utterance(spoken, 16_000, scale, seed=1).astype(np.float32) / 32768)[None]
        f0 = audio.f0_of_padded(torch.nn.functional.pad(out, (MARGIN, MARGIN)))[0]
        assert abs(float(f0[f0 > 0].median()) / (120 * float(scale)) - 1) < 0.02


def test_f0_of_harmonic_sounds_and_of_noise():
    for hz in (70.0, 110.0, 173.0, 250.0, 390.0):
        f0 = audio.f0_of_padded(torch.nn.functional.pad(voiced(hz, 0.8)[None], (MARGIN, MARGIN)))[0, 3:-3]
        assert ((f0 / hz - 1).abs() < 0.003).all(), hz
    hiss = torch.randn(1, SAMPLE_RATE, generator=torch.Generator().manual_seed(1)) * 0.1
    assert (audio.f0_of_padded(hiss) > 0).float().mean() < 0.05
