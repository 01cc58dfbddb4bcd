"""Keys, shapes and types of what is exported, against the lists of the published checkpoint."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from embedded_voice.checkpoint import Checkpoint, stored, tensors, write, write_voice
from embedded_voice.encoders import Encoders
from embedded_voice.export import MAX_PARAMETERS, parameter_count
from embedded_voice.models.flow import Flow
from embedded_voice.models.hift import HiFT
from embedded_voice.models.t3 import T3
from embedded_voice.presets import PRESETS, Dims

SPEC = Path(__file__).parents[3] / "tests/data/spec"
COMPUTED = {"tokenizer._mel_filters", "tokenizer.window"}  # tables that a file may leave out
PUBLISHED = Dims(
    t3_hidden_size=1024, t3_num_layers=30, t3_num_heads=16, t3_intermediate_size=4096, t3_text_vocab_size=704,
    t3_speech_vocab_size=8194, t3_max_text_tokens=2048, t3_max_speech_tokens=4096, s3gen_encoder_size=512,
    s3gen_encoder_heads=8, s3gen_encoder_linear_units=2048, s3gen_encoder_blocks=6, s3gen_encoder_up_blocks=4,
    s3gen_estimator_channels=256, s3gen_estimator_heads=8, s3gen_estimator_head_dim=64,
    s3gen_estimator_blocks_per_stage=4, s3gen_estimator_mid_stages=12, hift_base_channels=512, hift_f0_channels=512,
    speech_tokenizer_state=1280, speech_tokenizer_heads=20, speech_tokenizer_layers=6, xvector_fcm_channels=32,
    xvector_init_channels=128, xvector_growth_rate=32, voice_encoder_hidden_size=256,
)  # fmt: skip


def modules(dims: Dims) -> dict:
    return {"t3": T3(dims), "flow": Flow(dims), "hift": HiFT(dims), "encoders": Encoders(dims)}


def test_keys_and_shapes_at_the_published_size():
    with torch.device("meta"):
        parts = modules(PUBLISHED)
    ours = {"t3_cfg": parts["t3"].state_dict(), "ve": parts["encoders"].ve.state_dict(), "s3gen": {}}
    for prefix, module in (
        ("flow.", parts["flow"]),
        ("mel2wav.", parts["hift"]),
        ("tokenizer.", parts["encoders"].tokenizer),
        ("speaker_encoder.", parts["encoders"].speaker_encoder),
    ):
        ours["s3gen"] |= {prefix + key: value for key, value in module.state_dict().items()}
    for file, values in ours.items():
        spec = {}
        for line in (SPEC / f"tensors-{file}.tsv").read_text().splitlines():
            key, dtype, shape = line.split("\t")
            if key not in COMPUTED:
                spec[key] = (dtype, tuple(json.loads(shape)))
        names = {torch.float32: "F32", torch.int64: "I64"}
        assert {k: (names[v.dtype], tuple(v.shape)) for k, v in values.items()} == spec


def test_config_has_the_fields_of_the_engines_own():
    own = json.loads((SPEC.parent / "checkpoints/tiny-english/config.json").read_text())
    config = PRESETS["embedded"].dims.config()
    assert set(config) == {*own, "name", "synthetic"}
    assert config["synthetic"] is False
    assert config["t3_hidden_size"] == config["t3_num_heads"] * config["t3_head_dim"]


def test_a_checkpoint_says_whether_it_clones(tmp_path):
    for cloning in (True, False):
        write(tmp_path, PRESETS["toy"].dims, {}, cloning)
        assert json.loads((tmp_path / "config.json").read_text())["cloning"] is cloning


def test_the_embedded_preset_is_small_enough():
    assert parameter_count(tensors(**modules(PRESETS["embedded"].dims))) <= MAX_PARAMETERS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("checkpoint")
    dims = PRESETS["toy"].dims
    write(folder, dims, tensors(**modules(dims)))
    tokens = 12
    write_voice(
        folder / "conds.pt",
        {
            "tokens": torch.arange(tokens),
            "speaker": torch.rand(256),
            "xvector": torch.randn(192),
            "mel": torch.full((2 * tokens, 80), -6.0),
        },
    )
    return folder


def test_a_written_checkpoint_speaks_and_repeats_itself(written):
    checkpoint = Checkpoint(written)
    voice = checkpoint.voice()
    first, again = (checkpoint.tokens("Hello there.", voice, seed=3, max_tokens=6) for _ in range(2))
    assert first == again
    waves = [checkpoint.wave([5, 6, 7, 6561, 9], voice, seed=3) for _ in range(2)]
    assert waves[0].shape == (4 * 960,), "start and stop tokens have no sound"
    assert torch.equal(*waves)


def test_matrices_are_halves_and_vectors_are_not(written):
    with safe_open(written / "s3gen.safetensors", "pt") as file:
        for key in file.keys():
            value = file.get_tensor(key)
            expected = (
                torch.int64
                if key.endswith("num_batches_tracked")
                else torch.float16
                if value.dim() > 1
                else torch.float32
            )
            assert value.dtype == expected, key


def test_values_that_fit_no_half_are_refused():
    with pytest.raises(ValueError, match="flow.x"):
        stored({"flow.x": torch.full((2, 2), 1e6)})
