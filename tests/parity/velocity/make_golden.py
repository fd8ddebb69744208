#!/usr/bin/env python3
"""Writes the golden files of the velocity networks from the original PyTorch classes.

    make_golden.py --edm DIR --cud DIR --cud-imagenet DIR [--out DIR]

The folders are clones of NVlabs/edm, shaoshitong/Catch-Up-Distillation and
shaoshitong/Catch-Up-Distillation-ImageNet-64x64. Needs torch, numpy, safetensors.

Weights are not stored: each element follows from the tensor's name, its index and a seed
(`generated.uniform`, and `tests/src/generate.rs`). The reference runs in f64. Where the originals
fall back to f32 inside (embedding, attention, group norm) the f64 run replaces that part by the
same formula in f64, and an f32 run of the untouched original checks the replacement.
"""

import argparse
import contextlib
import importlib
import io
import json
import math
import pathlib
import sys
import types

import numpy as np
import torch
from safetensors.numpy import save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import generated  # noqa: E402

SEED = 20231
BATCH = 2
OUTPUT_SAMPLES = 40
GRADIENT_SAMPLES = 12
GRADIENT_TENSORS = 14
GAIN = 1.0


def uniform(name: str, count: int) -> np.ndarray:
    return generated.uniform(name, count, SEED)


def generate(name: str, shape: tuple) -> np.ndarray:
    """The value of a network's tensor: f64 numbers that f32 holds exactly."""
    u = uniform(name, int(np.prod(shape, dtype=np.int64)))
    if name.endswith("resample_filter"):
        value = np.full_like(u, 0.25)
    elif name.endswith("bias"):
        value = 0.2 * u
    elif len(shape) == 1:
        value = 0.4 + 0.15 * u
    else:
        value = u * (GAIN if len(shape) == 4 else 1.0) * np.sqrt(3.0 / int(np.prod(shape[1:])))
    return value.astype(np.float32).astype(np.float64).reshape(shape)


def images(name: str, shape: tuple) -> torch.Tensor:
    """Numbers in [-1.5, 1.5) that f32 holds exactly."""
    values = 1.5 * uniform(name, int(np.prod(shape)))
    return torch.from_numpy(values.astype(np.float32).astype(np.float64).reshape(shape))


def sample(values: torch.Tensor, count: int) -> np.ndarray:
    """`count` elements at even distances, the first and the last among them, and the mean absolute value."""
    flat = values.detach().reshape(-1).double().numpy()
    return np.append(flat[np.arange(count) * (flat.size - 1) // (count - 1)], np.abs(flat).mean())


# The originals.


def stub(name: str, **content):
    """A module that an original imports and these networks do not use, or that we replace."""
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module
    return module


def import_from(folder: str, name: str):
    """A module of a clone."""
    sys.path.insert(0, str(pathlib.Path(folder).resolve()))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


class Softmax(torch.nn.Module):
    """Attention over [batch, sequence, 3, heads, channels] in the place of the GPU's fused kernel."""

    def __init__(self, **_):
        super().__init__()

    def forward(self, qkv, **_):
        q, k, v = (part.permute(0, 2, 1, 3) for part in qkv.unbind(2))
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
        return (weights @ v).permute(0, 2, 1, 3), None


def rearrange(tensor, pattern, **sizes):
    """The two rearrangements that the attention block asks for."""
    if pattern.startswith("b (three h d) s"):
        batch, _, sequence = tensor.shape
        return tensor.reshape(batch, sizes["three"], sizes["h"], -1, sequence).permute(0, 4, 1, 2, 3)
    assert pattern == "b s h d -> b (h d) s", pattern
    return tensor.flatten(2).transpose(1, 2)


class Originals:
    def __init__(self, args):
        persistence = stub("persistence", persistent_class=lambda kind: kind)
        stub("torch_utils", persistence=persistence)
        stub("dnnlib")
        stub("pytorch_wavelets", DWTForward=None, DWTInverse=None)
        stub("flash_attn")
        stub("flash_attn.flash_attention", FlashAttention=Softmax)
        stub("einops", rearrange=rearrange)
        world = types.SimpleNamespace(Get_rank=lambda: 1)
        stub("mpi4py", MPI=types.SimpleNamespace(COMM_WORLD=world))
        self.edm = import_from(args.edm, "training.networks")
        self.cud = import_from(args.cud, "network_edm")
        self.imagenet = import_from(args.cud_imagenet, "cm.unet")

    def make(self, config, source):
        """The original network of a configuration."""
        c = dict(config)
        common = dict(img_resolution=c["side"], in_channels=c["inputs"], out_channels=c["outputs"],
                      label_dim=c["classes"] or 0, augment_dim=c["augment"] or 0, model_channels=c["width"],
                      channel_mult=c["multipliers"], num_blocks=c["blocks"], attn_resolutions=c["attention"],
                      dropout=c["dropout"])
        if source == "edm":
            kind = self.edm.SongUNet if c["family"] == "song_unet" else self.edm.DhariwalUNet
            return kind(**common)
        if source == "cud":
            net = self.cud.SongUNet(**common, prior_shakedrop=c["phi"] is not None, phi=c["phi"])
            net.generator_list = torch.nn.ModuleList(
                self.cud.MetaGenerator(net.meta_in_channel, net.meta_out_channel) for _ in range(c["heads"] - 1))
            return net
        downs = tuple(c["side"] // side for side in c["attention"])
        return self.imagenet.UNetModel(
            image_size=c["side"], in_channels=c["inputs"], model_channels=c["width"], out_channels=c["outputs"],
            num_res_blocks=c["blocks"], attention_resolutions=downs, dropout=c["dropout"],
            channel_mult=tuple(c["multipliers"]), num_classes=c["classes"], num_head_channels=c["head_channels"],
            use_scale_shift_norm=True, resblock_updown=True, predstep=c["heads"],
            prior_shakedrop=c["phi"] is not None, phi=c["phi"])


def call(net, source, config, x, t, labels, augment):
    """The velocities of all heads."""
    one_hot = None
    if config["classes"]:
        one_hot = torch.nn.functional.one_hot(labels, config["classes"]).to(x.dtype)
    if source == "edm":
        return [net(x, t, one_hot, augment_labels=augment)]
    if source == "cud":
        v, feature = net(x, t, one_hot, augment_labels=augment, return_features=True)
        return [v] + [head(feature.clone()) for head in net.generator_list]
    found = net(x, t, labels if config["classes"] else None, return_features=True)
    return list(found) if isinstance(found, tuple) else [found]


# The parts that the originals compute in f32.


class Sines(torch.nn.Module):
    """cos | sin of t times the frequencies, in f64."""

    def __init__(self, width, endpoint):
        super().__init__()
        half = width // 2
        self.frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - endpoint))

    def forward(self, t):
        angle = t.double()[:, None] * self.frequencies
        return torch.cat([angle.cos(), angle.sin()], 1)


class Weights:
    """softmax over k of q . k / sqrt(channels), in f64."""

    @staticmethod
    def apply(q, k):
        return torch.einsum("ncq,nck->nqk", q, k / math.sqrt(k.shape[1])).softmax(2)


@contextlib.contextmanager
def in_f64(originals, net, config):
    """All parts of the network in f64."""
    saved = (originals.edm.AttentionOp, originals.cud.AttentionOp, originals.imagenet.timestep_embedding,
             torch.Tensor.half, torch.Tensor.float)
    originals.edm.AttentionOp = originals.cud.AttentionOp = Weights
    originals.imagenet.timestep_embedding = lambda t, width: Sines(width, 0)(t)
    torch.Tensor.half = torch.Tensor.float = lambda tensor: tensor
    if hasattr(net, "map_noise"):
        kept, net.map_noise = net.map_noise, Sines(config["width"], int(config["family"] == "song_unet"))
    try:
        yield
    finally:
        (originals.edm.AttentionOp, originals.cud.AttentionOp, originals.imagenet.timestep_embedding,
         torch.Tensor.half, torch.Tensor.float) = saved
        if hasattr(net, "map_noise"):
            net.map_noise = kept


def fill(net):
    state = net.state_dict()
    for name, value in state.items():
        value.copy_(torch.from_numpy(generate(name, tuple(value.shape))))
    return state


def keys_hash(state):
    lines = [f"{n} {','.join(map(str, state[n].shape))}\n" for n in sorted(state)]
    return f"{generated.fnv1a(''.join(lines).encode()):016x}"


def count_macs(originals, make, config, source):
    """Multiply-adds of convolutions and linear layers for one image of the network's own size."""
    kinds = (torch.nn.Conv2d, torch.nn.Linear, originals.edm.Conv2d, originals.edm.Linear,
             originals.cud.Conv2d, originals.cud.Linear)
    with torch.device("meta"):
        net = make()
    total = []

    def count(module, _inputs, output):
        if module.weight is not None:
            total.append(module.weight[0].numel() * output[0].numel())

    for module in net.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(count)
    x = torch.zeros(1, config["inputs"], config["side"], config["side"], device="meta")
    labels = torch.zeros(1, dtype=torch.int64, device="meta")
    if config["family"] == "song_unet" or source == "edm":
        shape = (1, config["classes"] or 1)
        arguments = (x, torch.zeros(1, device="meta"), torch.zeros(shape, device="meta") if config["classes"] else None)
        net(*arguments)
    else:
        torch.Tensor.half, kept = (lambda tensor: tensor), torch.Tensor.half
        net(x, torch.zeros(1, device="meta"), labels if config["classes"] else None)
        torch.Tensor.half = kept
    return sum(total)


def spread(items, count):
    if len(items) <= count:
        return items
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def run(originals, net, config, source, inputs, dtype):
    """Velocities and the gradients of half the mean square of (velocity - target), summed over the heads."""
    x, times, labels, augment, targets = inputs
    net = net.to(dtype).eval()
    net.dtype = dtype  # what the ImageNet repository casts to
    x = x.to(dtype).requires_grad_()
    scope = in_f64(originals, net, config) if dtype == torch.float64 else contextlib.nullcontext()
    with scope:
        augment = None if augment is None else augment.to(dtype)
        velocities = call(net, source, config, x, times.to(dtype), labels, augment)
    loss = sum(0.5 * ((v - g.to(dtype)) ** 2).mean() for v, g in zip(velocities, targets))
    gradients = torch.autograd.grad(loss, [x, *net.parameters()], allow_unused=True)
    names = [n for n, _ in net.named_parameters()]
    return velocities, loss.item(), gradients[0], dict(zip(names, gradients[1:]))


def golden(originals, name, case):
    config, source = case["config"], case["source"]
    with contextlib.redirect_stdout(io.StringIO()):  # some constructors print
        net = originals.make(config, source)
        macs = count_macs(originals, lambda: originals.make(config, source), config, source) if case["registered"] else 0
    state = fill(net)
    entry = dict(case, parameters=sum(p.numel() for p in net.parameters()), tensors=len(state),
                 keys=keys_hash(state), macs=macs)
    if not case["run"]:
        print(f"{name:24} {entry['parameters']:>10} {entry['tensors']:>4} {macs:>13}")
        return entry, {}
    side = case["side"]
    shape = (BATCH, config["inputs"], side, side)
    labels = torch.tensor([3, 7]) % (config["classes"] or 10)
    augment = images("augment", (BATCH, config["augment"])) if config["augment"] else None
    targets = [images(f"target{j}", (BATCH, config["outputs"], side, side)) for j in range(config["heads"])]
    inputs = (images("x", shape), torch.tensor(case["times"], dtype=torch.float64), labels, augment, targets)
    velocities, loss, of_x, gradients = run(originals, net, config, source, inputs, torch.float64)
    single = run(originals, net, config, source, inputs, torch.float32)
    for exact, rounded in zip(velocities, single[0]):
        error = (exact - rounded).abs().max() / exact.abs().max()
        # The GPU repository rounds queries, keys and values to half precision.
        assert error < (2e-2 if source == "cud_imagenet" else 2e-5), (name, error)
    learnt = sorted(n for n in gradients if gradients[n] is not None)
    idle = sorted(set(gradients) - set(learnt))
    assert not idle, (name, idle)
    # A shift that a norm of one channel takes away again has gradient 0 but for rounding: left out.
    taken_away = [n for n in learnt if gradients[n].abs().mean() < 1e-12]
    assert all(n.endswith("bias") for n in taken_away), (name, taken_away)
    learnt = [n for n in learnt if n not in taken_away]
    last = [n for n in learnt if "aux_conv" in n or n.startswith(("out", "generator_list", "map_", "label_emb"))]
    chosen = sorted(set(spread(learnt, GRADIENT_TENSORS)) | set(spread(last, GRADIENT_TENSORS)))
    entry.update(loss=loss, gradients=chosen)
    out = {
        "velocities": np.stack([sample(v, OUTPUT_SAMPLES) for v in velocities]),
        "x": sample(of_x, OUTPUT_SAMPLES)[None],
        "gradients": np.stack([sample(gradients[n], GRADIENT_SAMPLES) for n in chosen]),
    }
    print(f"{name:24} {entry['parameters']:>10} {entry['tensors']:>4} {macs:>13} mean |v| "
          + " ".join(f"{v.abs().mean().item():.3g}" for v in velocities) + f" loss {loss:.4g}")
    return entry, {f"{name}.{k}": v for k, v in out.items()}


def denoisers(originals, config):
    """EDM's three preconditionings around one network, in f32 as they are."""
    arrays = {}
    kinds = {"edm": "EDMPrecond", "variance_preserving": "VPPrecond", "variance_exploding": "VEPrecond"}
    for name, kind in kinds.items():
        net = getattr(originals.edm, kind)(
            img_resolution=config["side"], img_channels=config["inputs"], label_dim=config["classes"],
            model_type="SongUNet", augment_dim=config["augment"], model_channels=config["width"],
            channel_mult=config["multipliers"], num_blocks=config["blocks"], attn_resolutions=config["attention"])
        fill(net.model)
        x = images("x", (BATCH, config["inputs"], config["side"], config["side"])).float()
        one_hot = torch.nn.functional.one_hot(torch.tensor([3, 7]) % config["classes"], config["classes"]).float()
        with torch.no_grad():
            found = net.eval()(x, torch.tensor([0.5, 8.0]), one_hot)
        arrays[f"denoise.{name}"] = sample(found, OUTPUT_SAMPLES)[None]
    return arrays


def song(**changes):
    """A SongUNet small enough for f64."""
    config = dict(family="song_unet", side=16, inputs=3, outputs=3, width=32, multipliers=[1, 2], blocks=1,
                  attention=[16], dropout=0.1, classes=None, augment=None, phi=None, heads=1)
    return dict(config, **changes)


def adm(dialect, **changes):
    """An ADM network small enough for f64."""
    config = dict(family="adm", dialect=dialect, side=16, inputs=3, outputs=3, width=32, multipliers=[1, 2, 3],
                  blocks=1, attention=[8], head_channels=16, dropout=0.1, classes=10, augment=None, phi=None, heads=1)
    return dict(config, **changes)


def cases():
    """name -> case; a registered network's numbers must equal the registry's."""
    mnist = song(side=28, inputs=1, outputs=1, multipliers=[2, 2, 2], blocks=2, dropout=0.13, phi=0.25)
    cifar = song(side=32, width=128, multipliers=[2, 2, 2], blocks=4, dropout=0.13, phi=0.75)
    small = dict(width=16, multipliers=[1, 1, 2], attention=[], dropout=0.0)
    imagenet = dict(side=64, width=192, multipliers=[1, 2, 3, 4], blocks=3, attention=[32, 16, 8], head_channels=64,
                    classes=1000)
    rows = {}

    def add(name, source, config, side=None, times=(0.125, 0.8125), run=True, registered=True):
        rows[name] = dict(source=source, config=config, side=side or config["side"], times=list(times), run=run,
                          registered=registered)

    add("unet_small", "cud", song(side=28, inputs=1, outputs=1, **small))
    add("unet_small_8", "cud", song(side=8, inputs=1, outputs=1, **small))
    add("unet_small_32", "cud", song(side=32, **small))
    add("cud_mnist", "cud", mnist)
    add("cud_mnist_encoder", "cud", dict(mnist, outputs=2, phi=None), times=(1.0, 1.0))
    add("cud_cifar10", "cud", cifar, side=16)
    add("cud_cifar10_encoder", "cud", dict(cifar, outputs=6, width=32, blocks=2, phi=None), times=(1.0, 1.0))
    add("edm_cifar10_ddpmpp", "edm", dict(cifar, phi=None, augment=9), side=16, times=(-1.25, 0.875))
    add("cud_imagenet64", "cud_imagenet", adm("catch_up", **imagenet, phi=0.75), run=False)
    add("edm_imagenet64_adm", "edm", adm("edm", **imagenet), run=False)
    add("edm_imagenet64_adm_w64", "edm", adm("edm", **dict(imagenet, width=64)), side=16, times=(-1.25, 0.875))
    add("song_heads", "cud", song(phi=0.75, heads=3, width=16), registered=False)
    add("song_labels", "edm", song(classes=10, augment=9), times=(-1.25, 0.875), registered=False)
    # EDM's heads are always of 64 channels.
    add("adm_edm", "edm", adm("edm", multipliers=[1, 2, 4], head_channels=64), times=(-1.25, 0.875), registered=False)
    add("adm_catch_up", "cud_imagenet", adm("catch_up", phi=0.75, heads=3, attention=[16, 8]), registered=False)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for clone in ("edm", "cud", "cud-imagenet"):
        parser.add_argument(f"--{clone}", required=True, metavar="DIR")
    parser.add_argument("--out", default=pathlib.Path(__file__).parent, type=pathlib.Path, metavar="DIR")
    args = parser.parse_args()
    torch.set_num_threads(1)
    originals = Originals(args)
    manifest, arrays = {}, {}
    for name, case in cases().items():
        manifest[name], found = golden(originals, name, case)
        arrays.update(found)
    arrays.update(denoisers(originals, cases()["song_labels"]["config"]))
    save_file(arrays, args.out / "golden.safetensors")
    text = json.dumps({"seed": SEED, "batch": BATCH, "networks": manifest}, indent=1)
    (args.out / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
