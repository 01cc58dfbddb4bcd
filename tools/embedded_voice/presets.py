"""Sizes: the dimensions of the student (its config.json) and of its training, for the real run and for the toy one."""

import math
from dataclasses import asdict, dataclass, field, replace

SAMPLE_RATE = 24_000
TOKENIZER_RATE = 16_000
SAMPLES_PER_TOKEN = 960  # at 24 kHz: 25 tokens a second
FRAMES_PER_TOKEN = 2  # mel frames of 20 ms
CODEBOOK = 6561  # 3^8
MAX_SPEECH_TOKENS = 390  # what the daemon renders in one piece
PROMPT_TOKENS = 150  # of the clip that T3 sees


@dataclass(frozen=True)
class Dims:
    """Every field of config.json that is not the same for all checkpoints of this class."""

    t3_hidden_size: int = 192
    t3_num_layers: int = 6
    t3_num_heads: int = 3
    t3_head_dim: int = 64
    t3_intermediate_size: int = 448
    t3_text_vocab_size: int = 256
    t3_speech_vocab_size: int = 6568  # 6561 codes, start, stop, rounded up to a multiple of 8
    t3_max_text_tokens: int = 446
    t3_max_speech_tokens: int = 508
    t3_perceiver_heads: int = 4
    s3gen_encoder_size: int = 128
    s3gen_encoder_heads: int = 4
    s3gen_encoder_linear_units: int = 256
    s3gen_encoder_blocks: int = 2
    s3gen_encoder_up_blocks: int = 1
    s3gen_estimator_channels: int = 112
    s3gen_estimator_heads: int = 4
    s3gen_estimator_head_dim: int = 32
    s3gen_estimator_blocks_per_stage: int = 2
    s3gen_estimator_mid_stages: int = 2
    hift_base_channels: int = 128
    hift_f0_channels: int = 96
    speech_tokenizer_state: int = 128
    speech_tokenizer_heads: int = 2  # of 64: the reference's rotary table has that width whatever the sizes
    speech_tokenizer_layers: int = 2
    xvector_fcm_channels: int = 8
    xvector_init_channels: int = 32
    xvector_growth_rate: int = 8
    voice_encoder_hidden_size: int = 64

    def config(self) -> dict:
        """The content of config.json."""
        config = {
            "variant": "english",
            "name": "audiobookd-embedded",
            "synthetic": False,
            "t3_backbone": "llama",
            "t3_text_pos_rows": self.t3_max_text_tokens + 2,
            "t3_speech_pos_rows": self.t3_max_speech_tokens + 4,
            "t3_speech_cond_prompt_len": PROMPT_TOKENS,
            "t3_perceiver_queries": 32,
            "t3_speaker_embed_size": 256,
            "t3_start_text_token": 255,
            "t3_stop_text_token": 0,
            "t3_start_speech_token": CODEBOOK,
            "t3_stop_speech_token": CODEBOOK + 1,
            "s3gen_meanflow": False,
            "s3gen_speech_vocab_size": CODEBOOK,
            "s3gen_mel_channels": 80,
            "s3gen_speaker_embed_dim": 192,
            "s3gen_encoder_pre_lookahead": 3,
            "s3gen_estimator_in_channels": 320,
            "hift_upsample_rates": [8, 5, 3],
            "hift_upsample_kernels": [16, 11, 7],
            "hift_resblock_kernels": [3, 7, 11],
            "hift_resblock_dilations": [1, 3, 5],
            "hift_source_resblock_kernels": [7, 7, 11],
            "hift_istft_n_fft": 16,
            "hift_istft_hop": 4,
            "hift_harmonics": 8,
            "speech_tokenizer_mels": 128,
            "speech_tokenizer_codebook": CODEBOOK,
            "xvector_bn_size": 4,
            "xvector_blocks": [12, 24, 16],
            "xvector_embedding_size": 192,
            "voice_encoder_mels": 40,
            "voice_encoder_layers": 3,
            "voice_encoder_embed_size": 256,
        }
        return config | asdict(self)


# What the recorded outputs of the reference were computed with: the tests compare this code with them.
REFERENCE_TINY = Dims(
    t3_hidden_size=64, t3_num_layers=2, t3_num_heads=4, t3_head_dim=16, t3_intermediate_size=128,
    t3_text_vocab_size=704, t3_speech_vocab_size=8194, t3_max_text_tokens=256, t3_max_speech_tokens=512,
    s3gen_encoder_size=64, s3gen_encoder_linear_units=128, s3gen_estimator_channels=32,
    s3gen_estimator_head_dim=16, s3gen_estimator_blocks_per_stage=1, hift_base_channels=64, hift_f0_channels=64,
    speech_tokenizer_state=64, xvector_init_channels=16, xvector_growth_rate=4, voice_encoder_hidden_size=32,
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Of one training stage: it is over after so many seconds of training or so many steps, whichever comes first;
    the learning rate falls along the same measure. `rows` of a batch are utterances or crops, for T3 positions."""

    seconds: float
    steps: int
    rows: int
    rate: float


@dataclass(frozen=True)
class Preset:
    """One run: the student's sizes, the data it sees, the plans of its stages."""

    dims: Dims = field(default_factory=Dims)
    hours: float = 70.0  # of teacher audio
    utterances_per_shard: int = 64
    utterances_to_start: int = 600  # that a training stage waits for
    speakers: "Plan" = field(default_factory=lambda: Plan(seconds=150, steps=100_000, rows=96, rate=2e-3))
    tokenizer: "Plan" = field(default_factory=lambda: Plan(seconds=120, steps=100_000, rows=96, rate=2e-3))
    t3: "Plan" = field(default_factory=lambda: Plan(seconds=1430, steps=60_000, rows=32_768, rate=2e-3))
    flow: "Plan" = field(default_factory=lambda: Plan(seconds=1430, steps=60_000, rows=96, rate=8e-4))
    hift: "Plan" = field(default_factory=lambda: Plan(seconds=2080, steps=60_000, rows=48, rate=1e-3))
    flow_tokens: tuple[int, ...] = (128, 128, 320)  # lengths of the rows, taken in turn
    hift_frames: int = 64
    gan_from: float = 0.75  # share of the vocoder's training after which the discriminators join
    workers: int = 3  # processes that prepare batches, for each stage
    save_every_s: float = 30.0


def longer(preset: Preset, factor: float) -> Preset:
    """The plans of T3, flow and vocoder, stretched. The encoders stay: other ones would mean other tokens."""
    stretched = lambda plan: replace(plan, seconds=plan.seconds * factor, steps=int(plan.steps * factor))
    return replace(preset, t3=stretched(preset.t3), flow=stretched(preset.flow), hift=stretched(preset.hift))


PRESETS = {
    "embedded": Preset(),
    # Every stage end to end on one slow core: it learns a little of each task, not to speak.
    "toy": Preset(
        dims=Dims(
            t3_hidden_size=64, t3_num_layers=2, t3_num_heads=2, t3_head_dim=32, t3_intermediate_size=128,
            s3gen_encoder_size=64, s3gen_encoder_linear_units=128, s3gen_encoder_blocks=1,
            s3gen_estimator_channels=32, s3gen_estimator_head_dim=16, s3gen_estimator_blocks_per_stage=1,
            s3gen_estimator_mid_stages=1, hift_base_channels=32, hift_f0_channels=32, speech_tokenizer_state=64,
            speech_tokenizer_heads=1, speech_tokenizer_layers=1, xvector_init_channels=16, xvector_growth_rate=4,
            voice_encoder_hidden_size=32,
        ),
        hours=0.15, utterances_per_shard=16, utterances_to_start=32,
        speakers=Plan(math.inf, 150, 6, 2e-3), tokenizer=Plan(math.inf, 150, 6, 2e-3), t3=Plan(math.inf, 200, 2048, 3e-3), flow=Plan(math.inf, 120, 6, 2e-3),
        hift=Plan(math.inf, 100, 4, 2e-3), flow_tokens=(32,), hift_frames=24, gan_from=0.9, workers=0,
        save_every_s=10.0,
    ),
}  # fmt: skip
