"""Synthetic weights: the formula that the recorded outputs were computed with (one value per key and element)."""

import math

import numpy as np
import torch

# Suffix of the key (or the key itself) -> base, scale; the first match wins, as in the rules of the recordings.
FIXED = (
    ("similarity_weight", 10.0, 0.0), ("similarity_bias", -5.0, 0.0), (".running_var", 1.0, 0.2),
    (".running_mean", 0.0, 0.1), ("mel2wav.conv_post.parametrizations.weight.original0", 0.5, 0.05),
    (".parametrizations.weight.original0", 1.0, 0.1), (".alpha", 1.0, 0.2), ("mel2wav.conv_post.bias", -2.25, 0.5),
    ("mel2wav.f0_predictor.classifier.weight", 0.0, -250.0), ("mel2wav.f0_predictor.classifier.bias", 220.0, 10.0),
    ("flow.decoder.estimator.final_proj.bias", -5.0, 1.0), ("speech_head.weight", 0.0, -2.0),
    ("text_emb.weight", 0.0, 0.1), ("speech_emb.weight", 0.0, 0.1), ("_pos_emb.emb.weight", 0.0, 0.05),
    ("tfmr.embed_tokens.weight", 0.0, 0.05), ("flow.input_embedding.weight", 0.0, 1.0),
    (".pre_attention_query", 0.0, 0.3), (".pos_bias_u", 0.0, 0.3), (".pos_bias_v", 0.0, 0.3),
)  # fmt: skip


def base_and_scale(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    fan_in = math.prod(shape[1:])
    for suffix, base, scale in FIXED:
        if key.endswith(suffix):  # a negative scale: times sqrt(3 / fan_in)
            return base, scale if scale >= 0 else -scale * math.sqrt(3 / fan_in)
    if len(shape) == 1:
        return (1.0, 0.1) if key.endswith(".weight") else (0.0, 0.02)
    return 0.0, math.sqrt(3 / fan_in)


def synthetic_values(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    seed = 0xCBF29CE484222325
    for byte in key.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    base, scale = base_and_scale(key, shape)
    return torch.from_numpy((base + scale * (2 * u - 1)).astype(np.float32)).reshape(shape)


def fill_synthetic(module: torch.nn.Module, prefix: str = "") -> None:
    state = module.state_dict()
    module.load_state_dict(
        {
            key: torch.zeros_like(value) if value.dtype == torch.int64 else synthetic_values(prefix + key, value.shape)
            for key, value in state.items()
        }
    )
