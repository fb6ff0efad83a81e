"""ResNet-18 (He et al., CVPR 2016) of torchvision, without its head."""

from torch import nn

from models.layers.norm import BatchNorm2d


def resnet18(in_channels: int = 3) -> nn.Module:
    """(B, in_channels, H, W) -> (B, 512)."""
    import torchvision  # takes 1.5 s, so only where it is used

    network = torchvision.models.resnet18(weights=None, norm_layer=BatchNorm2d)
    network.fc = nn.Identity()
    if in_channels != 3:
        network.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network
