"""The modules and the signal processing against recorded outputs of the reference, with the recorded weights."""

import os
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedded_voice import audio
from embedded_voice.models.campplus import CamPlus
from embedded_voice.models.flow import Flow
from embedded_voice.models.hift import HiFT
from embedded_voice.models.s3tokenizer import SpeechTokenizer
from embedded_voice.models.t3 import T3
from embedded_voice.models.voice_encoder import VoiceEncoder
from embedded_voice.presets import REFERENCE_TINY
from embedded_voice.t3_batches import collate

from .synthetic import fill_synthetic

REPOSITORY = Path(__file__).parents[3]
GOLDEN = REPOSITORY / "tests/data/golden"
# The voice cases are not part of the repository; where the full set of recordings lies, the tests use it.
ALL_GOLDEN = Path(os.environ.get("AUDIOBOOKD_GOLDEN", GOLDEN))


def golden(case: str) -> dict[str, torch.Tensor]:
    file = ALL_GOLDEN / f"{case}.safetensors"
    if not file.exists():
        pytest.skip(f"{file} is not there (AUDIOBOOKD_GOLDEN names the folder of all recordings)")
    return load_file(file)


def with_weights(module: torch.nn.Module, prefix: str = "") -> torch.nn.Module:
    fill_synthetic(module, prefix)
    return module.eval()


def conds() -> dict:
    return torch.load(REPOSITORY / "tests/data/checkpoints/tiny-english/conds.pt", weights_only=True)


@pytest.fixture(scope="module")
def t3():
    return with_weights(T3(REFERENCE_TINY))


@pytest.fixture(scope="module")
def flow():
    return with_weights(Flow(REFERENCE_TINY), "flow.")


@pytest.fixture(scope="module")
def hift():
    return with_weights(HiFT(REFERENCE_TINY), "mel2wav.")


@torch.inference_mode()
def test_t3_conditioning(t3):
    case = golden("t3_conditioning")
    for prompt in ("p150", "p40"):
        rows = t3.conditioning(
            case[f"{prompt}.speaker_emb"], case[f"{prompt}.prompt_tokens"], None, case[f"{prompt}.emotion"].flatten()
        )
        torch.testing.assert_close(rows, case[f"{prompt}.cond_emb"], atol=1e-5, rtol=0)


def test_t3_greedy_tokens(t3):
    case, voice = golden("t3_decode"), conds()["t3"]
    for name in ("u0", "u1", "u1_cfg0", "u0_hot"):
        cfg, penalty, temperature, min_p, _, emotion = case[f"{name}.params"].tolist()
        tokens = t3.generate(
            case[f"{name}.text_ids"],
            voice["speaker_emb"],
            voice["cond_prompt_speech_tokens"],
            emotion,
            48,
            cfg,
            penalty,
            temperature,
            min_p,
        )
        assert tokens == case[f"{name}.tokens"].tolist(), name


@torch.inference_mode()
def test_batched_loss_rows_equal_single_prefill(t3):
    """The packing used in training gives each utterance what it gets alone, whatever the others' lengths."""
    case, voice = golden("t3_prefill"), conds()["t3"]
    speaker, prompt = voice["speaker_emb"][0], voice["cond_prompt_speech_tokens"].flatten()
    emotion = voice["emotion_adv"].flatten()[0]
    items = [
        dict(
            text=case[f"u{i}.text_ids"],
            speech=torch.arange(3 + 5 * i),
            speaker=speaker,
            prompt=prompt,
            emotion=float(emotion),
            text_kept=1.0,
        )
        for i in range(3)
    ]
    batch = collate(items)
    logits = t3.loss_logits(batch)
    first = 0
    for i, item in enumerate(items):  # the answer to the second start-of-speech row is the prefill's
        torch.testing.assert_close(logits[first], case[f"u{i}.logits"][0], atol=1e-4, rtol=0)
        first += len(item["speech"]) + 1
    assert first == len(logits)


@torch.inference_mode()
def test_training_sees_what_decoding_sees(t3):
    """Fed with its own greedy tokens at once, T3 gives the logits that the reference gave step by step."""
    case, voice = golden("t3_decode"), conds()["t3"]
    tokens = case["u1.tokens"]
    item = dict(
        text=case["u1.text_ids"],
        speech=tokens,
        speaker=voice["speaker_emb"][0],
        prompt=voice["cond_prompt_speech_tokens"].flatten(),
        emotion=float(case["u1.params"][5]),
    )
    for kept, name in ((1.0, "cond"), (0.0, "uncond")):
        logits = t3.loss_logits(collate([item | {"text_kept": kept}]))[: len(tokens)]
        values = logits.gather(1, case[f"u1.{name}_top16_ids"].long())
        torch.testing.assert_close(values, case[f"u1.{name}_top16_values"], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_flow_encoder(flow):
    case = golden("flow_encoder")
    for name in ("u0", "u1"):
        prompt = case[f"{name}.prompt_token"] if f"{name}.prompt_token" in case else case["prompt_token"]
        tokens = torch.cat((prompt.flatten(), case[f"{name}.tokens"].flatten()))[None]
        padded = torch.nn.functional.pad(tokens, (0, 9))  # padding must not matter
        mu = flow.mu(padded, torch.tensor([tokens.shape[1]]))[0, :, : 2 * tokens.shape[1]].T
        torch.testing.assert_close(mu, case[f"{name}.mu"].reshape(mu.shape), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_flow_ten_steps(flow):
    case = golden("flow")
    for name in sorted({key.split(".")[0] for key in case if key.startswith("u")}):
        mel = flow.synthesise(
            case[f"{name}.tokens"].flatten(),
            case["prompt_token"].flatten(),
            case["prompt_feat"][0],
            case["embedding"][0],
            case[f"{name}.z"][0],
        )
        torch.testing.assert_close(mel, case[f"{name}.mel"][0], atol=2e-4, rtol=0)


@torch.inference_mode()
def test_hift_from_the_recorded_source(hift):
    case = golden("hift")
    for name in sorted({key.split(".")[0] for key in case if key.startswith("u")}):
        mel = case[f"{name}.mel"]
        f0 = hift.f0_predictor(mel)
        torch.testing.assert_close(f0, case[f"{name}.f0"], atol=2e-2, rtol=0)
        source = hift.m_source(case[f"{name}.f0"], case[f"{name}.phase"], case[f"{name}.noise"])
        torch.testing.assert_close(source, case[f"{name}.source"], atol=2e-5, rtol=0)
        torch.testing.assert_close(hift.decode(mel, case[f"{name}.source"]), case[f"{name}.wav"], atol=5e-4, rtol=0)


def read_wav(path: Path) -> torch.Tensor:
    with wave.open(str(path)) as file:
        return torch.from_numpy(np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768).float()[None]


@torch.inference_mode()
def test_voice_from_a_clip():
    case = golden("voice_short_24k")
    clip = read_wav(ALL_GOLDEN / "audio/short_24k.wav")
    torch.testing.assert_close(audio.mel24(clip).mT, case["cond.prompt_feat"], atol=1e-3, rtol=0)
    wave16 = case["wav16_sinc"]
    torch.testing.assert_close(audio.to_16k(clip), wave16, atol=1e-5, rtol=0)
    log_mel = audio.tokenizer_mel(wave16)
    tokenizer = with_weights(SpeechTokenizer(REFERENCE_TINY), "tokenizer.")
    lengths = torch.tensor([-(-log_mel.shape[2] // 4)])
    assert (
        tokenizer(log_mel, lengths)[0, : case["cond.prompt_token"].shape[1]].tolist()
        == case["cond.prompt_token"][0].tolist()
    )
    banks = audio.fbank(wave16)
    campplus = with_weights(CamPlus(REFERENCE_TINY), "speaker_encoder.")
    torch.testing.assert_close(campplus(banks), case["cond.embedding"], atol=1e-4, rtol=0)
    trimmed = audio.trim_silence(case["wav16_hq"].flatten())
    encoder = with_weights(VoiceEncoder(REFERENCE_TINY))
    torch.testing.assert_close(
        encoder.embed(audio.voice_mel(trimmed[None])[0]), case["cond.speaker_emb"][0], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("autocast", [False, True])
def test_losses_flow_back_to_every_weight(autocast):
    """Also in the mixed precision that GPUs train with, whose casts a run in fp32 would never meet."""
    t3, flow = T3(REFERENCE_TINY), Flow(REFERENCE_TINY)
    items = [
        dict(
            text=torch.tensor([40, 41]),
            speech=torch.arange(n),
            speaker=torch.rand(256),
            prompt=torch.arange(n),
            emotion=0.5,
            text_kept=1.0,
        )
        for n in (5, 9)
    ]
    batch = collate(items, 64)
    tokens, lengths = torch.randint(0, 6561, (2, 8)), torch.tensor([8, 5])
    mask = torch.ones(2, 1, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        text_loss = torch.nn.functional.cross_entropy(t3.loss_logits(batch).float(), batch["answers"])
        mu = flow.mu(tokens, lengths)
        mel = torch.randn(2, 80, 16)
        flow_loss = flow.decoder.loss(mel, mask, mu, flow.speaker(torch.randn(2, 192)), mel, drop=0.0)
    (text_loss + flow_loss + (mu.float() - mel).abs().mean()).backward()
    for module in (t3, flow):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
