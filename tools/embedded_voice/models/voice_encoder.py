"""Voice encoder: power mels of 1.6 s windows to a unit vector of 256, averaged over a clip. Keys: ve.safetensors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 160  # frames of 10 ms
STEP = 77  # at the reference's rate of 1.3 windows a second


class VoiceEncoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.lstm = nn.LSTM(40, d.voice_encoder_hidden_size, num_layers=3, batch_first=True)
        self.proj = nn.Linear(d.voice_encoder_hidden_size, 256)
        self.similarity_weight = nn.Parameter(torch.tensor([10.0]))
        self.similarity_bias = nn.Parameter(torch.tensor([-5.0]))

    def forward(self, windows: Tensor) -> Tensor:
        """[rows, 160, 40] -> unit vectors [rows, 256]."""
        _, (hidden, _) = self.lstm(windows)
        return F.normalize(F.relu(self.proj(hidden[-1])), dim=1)

    @torch.inference_mode()
    def embed(self, mel: Tensor) -> Tensor:
        """The vector of one clip, mel [frames, 40] -> [256]."""
        return F.normalize(self(windows_of(mel)).mean(0), dim=0)


def windows_of(mel: Tensor) -> Tensor:
    """[n, 160, 40]: every 77 frames; a last one is kept from 80 % coverage on and padded with zeros."""
    count, rest = divmod(max(mel.shape[0] - WINDOW + STEP, 0), STEP)
    if count == 0 or (rest + WINDOW - STEP) / WINDOW >= 0.8:
        count += 1
    length = WINDOW + STEP * (count - 1)
    mel = F.pad(mel, (0, 0, 0, max(0, length - mel.shape[0])))[:length]
    return mel.unfold(0, WINDOW, STEP).transpose(1, 2)
