"""CAM++ speaker encoder (arXiv:2303.00332): 80 Kaldi filter banks to a vector of 192. Keys: `speaker_encoder.` of
s3gen.safetensors."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BOTTLENECK = 4  # xvector_bn_size
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers, dilation


class ResidualBlock2d(nn.Module):
    def __init__(self, channels: int, stride: int):
        super().__init__()
        conv = lambda kernel, stride: nn.Conv2d(channels, channels, kernel, (stride, 1), kernel // 2, bias=False)
        self.conv1, self.bn1 = conv(3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(3, 1), nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(conv(1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Head(nn.Module):
    """Three halvings of the 80 bands."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(ResidualBlock2d(channels, 2), ResidualBlock2d(channels, 1))
        self.layer2 = nn.Sequential(ResidualBlock2d(channels, 2), ResidualBlock2d(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x[:, None])))))
        return F.relu(self.bn2(self.conv2(x))).flatten(1, 2)


def norm(channels: int, affine: bool = True) -> nn.Sequential:
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels, affine=affine)))


class NormedConv(nn.Module):
    """Norm and ReLU, then a 1x1 convolution."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.nonlinear = norm(channels_in)
        self.linear = nn.Conv1d(channels_in, channels, 1, bias=False)

    def forward(self, x):
        return self.linear(F.relu(self.nonlinear(x)))


class ContextMask(nn.Module):
    """A dilated convolution, gated by the means of the whole clip and of each 100 frames."""

    def __init__(self, channels_in: int, channels: int, dilation: int):
        super().__init__()
        self.linear_local = nn.Conv1d(channels_in, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(channels_in, channels_in // 2, 1)
        self.linear2 = nn.Conv1d(channels_in // 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        segments = F.avg_pool1d(x, 100, 100, ceil_mode=True).repeat_interleave(100, dim=2)[..., : x.shape[2]]
        context = x.mean(2, keepdim=True) + segments
        return self.linear_local(x) * torch.sigmoid(self.linear2(F.relu(self.linear1(context))))


class DenseLayer(nn.Module):
    def __init__(self, channels_in: int, growth: int, dilation: int):
        super().__init__()
        inner = BOTTLENECK * growth
        self.nonlinear1 = norm(channels_in)
        self.linear1 = nn.Conv1d(channels_in, inner, 1, bias=False)
        self.nonlinear2 = norm(inner)
        self.cam_layer = ContextMask(inner, growth, dilation)

    def forward(self, x):
        y = self.linear1(F.relu(self.nonlinear1(x)))
        return torch.cat((x, self.cam_layer(F.relu(self.nonlinear2(y)))), dim=1)


class FirstConv(nn.Module):
    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.linear = nn.Conv1d(channels_in, channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = norm(channels)

    def forward(self, x):
        return F.relu(self.nonlinear(self.linear(x)))


class Statistics(nn.Module):
    def forward(self, x):
        return torch.cat((x.mean(2), x.std(2, unbiased=True)), dim=1)


class Output(nn.Module):
    def __init__(self, channels_in: int, size: int):
        super().__init__()
        self.linear = nn.Conv1d(channels_in, size, 1, bias=False)
        self.nonlinear = norm(size, affine=False)

    def forward(self, x):
        return self.nonlinear(self.linear(x[..., None])[..., 0])


class CamPlus(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.head = Head(d.xvector_fcm_channels)
        channels, growth = d.xvector_init_channels, d.xvector_growth_rate
        self.xvector = nn.Sequential(OrderedDict(tdnn=FirstConv(d.xvector_fcm_channels * 10, channels)))
        for i, (layers, dilation) in enumerate(BLOCKS, start=1):
            block = nn.Sequential(
                OrderedDict(
                    (f"tdnnd{k + 1}", DenseLayer(channels + k * growth, growth, dilation)) for k in range(layers)
                )
            )
            channels += layers * growth
            self.xvector.add_module(f"block{i}", block)
            self.xvector.add_module(f"transit{i}", NormedConv(channels, channels // 2))
            channels //= 2
        self.xvector.add_module("out_nonlinear", norm(channels))
        self.xvector.add_module("relu", nn.ReLU())
        self.xvector.add_module("stats", Statistics())
        self.xvector.add_module("dense", Output(2 * channels, 192))

    def forward(self, fbank: Tensor) -> Tensor:
        """fbank [rows, frames, 80], the mean over each clip subtracted -> [rows, 192], not normalised."""
        return self.xvector(self.head(fbank.transpose(1, 2)))
