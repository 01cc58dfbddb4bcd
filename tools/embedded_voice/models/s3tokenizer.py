"""Speech tokenizer: 16 kHz log-mel to 25 tokens a second, FSMN attention and finite scalar quantisation 3^8, as in
S3 tokenizer v2. Keys: `tokenizer.` of s3gen.safetensors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow import mask_of
from .t3 import rotate

DIGITS = 8
FSQ_SCALE = 0.9990000128746033


def rope_tables(head_dim: int, length: int, device) -> tuple[Tensor, Tensor]:
    inv_freq = 1.0 / 10_000.0 ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim)
    angles = torch.arange(length, dtype=torch.float32, device=device)[:, None] * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


class FsmnAttention(nn.Module):
    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size)
        self.out = nn.Linear(size, size)
        self.fsmn_block = nn.Conv1d(size, size, 31, padding=15, groups=size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        value = self.value(x)
        memory = value * mask[..., None]
        memory = (self.fsmn_block(memory.transpose(1, 2)).transpose(1, 2) + memory) * mask[..., None]
        q, k = rotate(split(self.query(x)), cos, sin), rotate(split(self.key(x)), cos, sin)
        bias = ((1.0 - mask) * -1.0e10)[:, None, None]
        v = split(value)
        out = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=bias.to(v.dtype))
        return self.out(out.transpose(1, 2).flatten(2)) + memory


class Block(nn.Module):
    def __init__(self, size: int, heads: int):
        super().__init__()
        self.attn = FsmnAttention(size, heads)
        self.attn_ln = nn.LayerNorm(size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))
        self.mlp_ln = nn.LayerNorm(size)

    def forward(self, x, cos, sin, mask):
        x = x + self.attn(self.attn_ln(x), cos, sin, mask)
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        size = d.speech_tokenizer_state
        self.head_dim = size // d.speech_tokenizer_heads
        self.conv1 = nn.Conv1d(128, size, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(size, size, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(size, d.speech_tokenizer_heads) for _ in range(d.speech_tokenizer_layers))

    def forward(self, log_mel: Tensor, lengths: Tensor) -> Tensor:
        """log_mel [rows, 128, frames], lengths in tokens -> [rows, tokens, size]."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(log_mel)))).transpose(1, 2)
        mask = mask_of(lengths, x.shape[1])
        cos, sin = rope_tables(self.head_dim, x.shape[1], x.device)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return x


class Quantizer(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self._codebook = nn.ModuleDict({"project_down": nn.Linear(size, DIGITS)})

    def before_rounding(self, x: Tensor) -> Tensor:
        """[..., 8], each in (-1, 1)."""
        return self._codebook["project_down"](x).float().tanh() * FSQ_SCALE


class SpeechTokenizer(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.encoder = Encoder(d)
        self.quantizer = Quantizer(d.speech_tokenizer_state)

    def digits(self, log_mel: Tensor, lengths: Tensor) -> Tensor:
        """[rows, tokens, 8] before rounding to -1, 0, 1."""
        return self.quantizer.before_rounding(self.encoder(log_mel, lengths))

    @torch.inference_mode()
    def forward(self, log_mel: Tensor, lengths: Tensor) -> Tensor:
        """Token ids [rows, tokens]; the first digit is the least significant."""
        return token_ids(self.digits(log_mel, lengths))


def token_ids(digits: Tensor) -> Tensor:
    powers = 3 ** torch.arange(DIGITS, device=digits.device)
    return ((digits.round().long() + 1) * powers).sum(-1)
