#!/usr/bin/env python3
"""The ADM of guided-diffusion, converted to EDM's names, gives EDM's DhariwalUNet the same outputs.

    git clone https://github.com/NVlabs/edm ; git clone https://github.com/openai/guided-diffusion
    python tests/weights/adm.py --edm edm --guided guided-diffusion --taper target/release/taper

Runs both original definitions with random weights, 128 channels wide: below that EDM's group norms have
fewer groups than guided-diffusion's.
"""
import argparse, subprocess, sys, tempfile, types
import torch

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--edm", required=True)
parser.add_argument("--guided", required=True)
parser.add_argument("--taper", default="target/release/taper")
arguments = parser.parse_args()
# EDM imports it for its downloads, of which there are none here.
sys.modules.setdefault("requests", types.ModuleType("requests"))
sys.path[:0] = [arguments.edm, arguments.guided]
from guided_diffusion.unet import UNetModel
from safetensors.torch import load_file
from training.networks import DhariwalUNet


def guided(width):
    return UNetModel(
        image_size=64, in_channels=3, model_channels=width, out_channels=3, num_res_blocks=3,
        attention_resolutions=(2, 4, 8), channel_mult=(1, 2, 3, 4), num_classes=10, num_head_channels=64,
        use_scale_shift_norm=True, resblock_updown=True,
    )


def edm(width):
    return DhariwalUNet(
        img_resolution=64, in_channels=3, out_channels=3, label_dim=10, model_channels=width,
        channel_mult=[1, 2, 3, 4], num_blocks=3, attn_resolutions=[32, 16, 8], dropout=0,
    )


torch.manual_seed(0)
source, target = guided(128).eval(), edm(128).eval()
with torch.no_grad():
    for parameter in source.parameters():
        # The last layers start at zero: with random numbers every tensor matters.
        spread = 0.5 / max(1, parameter[0].numel()) ** 0.5
        parameter.copy_(torch.randn(parameter.shape) * spread + (1 if parameter.dim() == 1 else 0) * 0.5)
with tempfile.TemporaryDirectory() as folder:
    torch.save(source.state_dict(), f"{folder}/guided.pt")
    command = [arguments.taper, "weights", "convert", f"{folder}/guided.pt", f"{folder}/edm.safetensors"]
    subprocess.run([*command, "--dialect", "guided-diffusion"], check=True)
    state = load_file(f"{folder}/edm.safetensors")
missing, unexpected = target.load_state_dict(state, strict=False)
assert not unexpected, unexpected
assert all(name.endswith("resample_filter") for name in missing), missing
with torch.no_grad():
    images, noise = torch.randn(1, 3, 64, 64), torch.tensor([0.3])
    classes = torch.tensor([3])
    expected = source(images, noise, classes)
    found = target(images, noise, torch.nn.functional.one_hot(classes, 10).float())
apart = ((found - expected).abs().max() / expected.abs().max()).item()
print(f"{len(state)} tensors, outputs {apart:.1e} apart")
assert apart < 1e-4, apart
