#!/usr/bin/env bash
# timm, asked for features, accepts a file of weights of any other model.
#
# Guess: timm.create_model(name, pretrained=True, num_classes=0) with a local file of weights loads
# them, or raises an error where they are of another network, as it does without num_classes=0.
# What happens: num_classes=0, the usual way to get features, switches the check off. Nothing of the
# file fits, one line is logged as a warning (below the default level of many programs), and the
# features are those of random weights: different ones with each seed. With the weights of ResNet-34
# all of ResNet-18 is found in the file, so that even the seed does not tell; 15 of its blocks are
# left out. Features for ten labels look plausible and are not those of the model that was asked for.
#
# Versions: Python 3.11, timm 1.0.31, torch 2.14.1.
#
# Output seen:
#   with classifier  RuntimeError
#   num_classes=0    accepted; features of two seeds are equal: False
#   resnet34 file    accepted as resnet18
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check timm==1.0.31 torch==2.14.1
venv/bin/python - >output 2>/dev/null <<'END'
import timm
import torch


def create(name, file, seed=0, **settings):
    torch.manual_seed(seed)
    overlay = {"file": file}
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings)


def features(seed):
    network = create("resnet18", "vit.pth", seed, num_classes=0).eval()
    with torch.inference_mode():
        return network(torch.ones(1, 3, 64, 64))


torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), "vit.pth")
torch.save(timm.create_model("resnet34").state_dict(), "resnet34.pth")
try:
    create("resnet18", "vit.pth")
except RuntimeError as error:
    print("with classifier ", type(error).__name__)
print("num_classes=0    accepted; features of two seeds are equal:",
      torch.equal(features(0), features(1)))
create("resnet18", "resnet34.pth", num_classes=0)
print("resnet34 file    accepted as resnet18")
END
cat output
sed -n '/^# Output seen:/,/^[^#]/s/^#   //p' "$script" | diff - output
