#!/usr/bin/env python3
"""Writes the golden files of the CIFAR classifiers from the original PyTorch classes.

    make_golden.py --repdistiller DIR --mdistiller DIR --akamaster DIR --distiller DIR [--out DIR]

The folders are clones of HobbitLong/RepDistiller, megvii-research/mdistiller,
akamaster/pytorch_resnet_cifar10 and karanchahal/distiller. Needs torch, numpy, safetensors.

Weights are not stored: each element follows from the tensor's name, its index and a seed
(`generated.uniform`, and `tests/src/generate.rs`). The reference runs in f64 and is stored as f32.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import generated  # noqa: E402

SEED = 20230
BATCH = 3
SIDE = 32
STAGE_SAMPLES = 30
RUNNING_SAMPLES = 8
GRADIENT_SAMPLES = 16
RUNNING_LAYERS = 4
GRADIENT_TENSORS = 8


def uniform(name: str, count: int) -> np.ndarray:
    return generated.uniform(name, count, SEED)


def generate(name: str, shape: tuple, gain: float) -> np.ndarray:
    """The value of a network's tensor: f64 numbers that f32 holds exactly."""
    u = uniform(name, int(np.prod(shape, dtype=np.int64)))
    if name.endswith("running_mean"):
        value = 0.2 * u
    elif name.endswith("running_var"):
        value = 0.175 + 0.125 * u
    elif name.endswith("bias"):
        value = 0.2 * u
    elif len(shape) == 1:
        value = 0.4 + 0.15 * u
    else:
        fan_in = int(np.prod(shape[1:]))
        value = u * (gain if len(shape) == 4 else 1.0) * np.sqrt(3.0 / fan_in)
    return value.astype(np.float32).astype(np.float64).reshape(shape)


def sample(values: torch.Tensor, count: int) -> np.ndarray:
    """`count` elements at even distances, the first and the last among them."""
    flat = values.detach().reshape(-1).double().numpy()
    return flat[np.arange(count) * (flat.size - 1) // (count - 1)]


def summary(values: torch.Tensor) -> np.ndarray:
    values = values.detach()
    ends = [values.mean().item(), values.abs().mean().item()]
    return np.concatenate([sample(values, STAGE_SAMPLES), ends])


def load(folder: str, path: str):
    """One file of a clone as a module of its own."""
    file = pathlib.Path(folder) / path
    spec = importlib.util.spec_from_file_location("original_" + generated.fnv1a(str(file).encode()).__format__("x"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stages_by_hooks(net, layers):
    """Runs `net` and gives the outputs of (module, whether ReLU follows), and the logits."""
    taken, handles = {}, []
    for module, _ in layers:
        handles.append(module.register_forward_hook(lambda m, i, o: taken.__setitem__(m, o.clone())))

    def forward(x):
        logits = net(x)
        return [taken[m].relu() if relu else taken[m] for m, relu in layers], logits

    return forward, handles


def repdistiller(net):
    def forward(x):
        features, logits = net(x, is_feat=True)
        return features[:-1], logits

    return forward, []


def mdistiller(net):
    def forward(x):
        logits, features = net(x)
        return features["feats"], logits

    return forward, []


def akamaster(net):
    return stages_by_hooks(net, [(net.bn1, True), (net.layer1, False), (net.layer2, False), (net.layer3, False)])


def distiller_resnet(net):
    return stages_by_hooks(net, [(net.bn1, True), (net.layer1, True), (net.layer2, True), (net.layer3, True)])


def distiller_wrn(net):
    return stages_by_hooks(net, [(net.conv1, False), (net.layer1, False), (net.layer2, False), (net.layer3, False)])


def table(args):
    """Rows: name, classes, gain of the convolutions, constructor, reader of stages, twin constructor."""
    rep = {f: load(args.repdistiller, f"models/{f}.py") for f in
           ("resnet", "wrn", "vgg", "mobilenetv2", "ShuffleNetv1", "ShuffleNetv2", "resnetv2")}
    mdi = {f: load(args.mdistiller, f"mdistiller/models/cifar/{f}.py") for f in rep}
    aka = load(args.akamaster, "resnet.py")
    dis = load(args.distiller, "models/cifar10/resnet.py")
    wide = load(args.distiller, "models/wide_resnet/wide_resnet_ab.py")

    def shared(name, file, function, gain):
        make = lambda: getattr(rep[file], function)(num_classes=100)
        twin = lambda: getattr(mdi[file], function)(num_classes=100)
        return name, 100, gain, make, repdistiller, twin

    rows = []
    for depth, gain in ((8, 1.2), (14, 1.1), (20, 1.0), (32, 0.9), (44, 0.8), (56, 0.8), (110, 0.7)):
        rows.append(shared(f"resnet{depth}", "resnet", f"resnet{depth}", gain))
    rows.append(shared("resnet8x4", "resnet", "resnet8x4", 1.2))
    rows.append(shared("resnet32x4", "resnet", "resnet32x4", 0.9))
    for name, gain in (("wrn_16_1", 1.0), ("wrn_16_2", 1.0), ("wrn_40_1", 0.8), ("wrn_40_2", 0.8)):
        rows.append(shared(name, "wrn", name, gain))
    for depth in (8, 11, 13, 16, 19):
        rows.append(shared(f"vgg{depth}", "vgg", f"vgg{depth}_bn", 1.4))
    rows.append(shared("cifar_mobilenetv2", "mobilenetv2", "mobile_half", 1.2))
    rows.append(shared("cifar_shufflenetv1", "ShuffleNetv1", "ShuffleV1", 1.2))
    rows.append(shared("cifar_shufflenetv2", "ShuffleNetv2", "ShuffleV2", 1.3))
    make18 = lambda: mdi["resnetv2"].ResNet18(num_classes=100)
    rows.append(("cifar_resnet18", 100, 1.0, make18, mdistiller, None))
    rows.append(shared("cifar_resnet50", "resnetv2", "ResNet50", 1.0))
    for depth, gain in ((20, 1.0), (32, 0.9), (44, 0.8), (56, 0.8)):
        rows.append((f"akamaster_resnet{depth}", 10, gain, getattr(aka, f"resnet{depth}"), akamaster, None))
    for depth in (8, 14, 20, 26, 32):
        make = lambda depth=depth: getattr(dis, f"resnet{depth}")(num_classes=100)
        rows.append((f"distiller_resnet{depth}", 100, 0.9, make, distiller_resnet, None))
    for depth in (10, 16):
        make = lambda depth=depth: getattr(wide, f"WRN{depth}_1")(num_classes=10)
        rows.append((f"distiller_wrn_{depth}_1", 10, 1.0, make, distiller_wrn, None))
    return rows


def build(make, gain):
    """The original in f64 with generated weights."""
    with contextlib.redirect_stdout(io.StringIO()):  # some constructors print
        net = make().double()
    state = net.state_dict()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            value.copy_(torch.from_numpy(generate(name, tuple(value.shape), gain)))
    return net


def head(net):
    """The last linear layer and its path."""
    return [(n, m) for n, m in net.named_modules() if isinstance(m, torch.nn.Linear)][-1]


def count_macs(net, x):
    """Multiply-adds of convolutions and linear layers for one image."""
    total, handles = [], []

    def count(module, _inputs, output):
        total.append(module.weight[0].numel() * output[0].numel())

    for module in net.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            handles.append(module.register_forward_hook(count))
    net(x)
    for handle in handles:
        handle.remove()
    return sum(total)


def keys_hash(state):
    names = {torch.float64: "f32", torch.float32: "f32", torch.int64: "i64"}
    lines = [f"{n} {names[state[n].dtype]} {','.join(map(str, state[n].shape))}\n" for n in sorted(state)]
    return f"{generated.fnv1a(''.join(lines).encode()):016x}"


def spread(items, count):
    """`count` of the items, at even distances."""
    if len(items) <= count:
        return items
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def gradient_names(net):
    """The first convolution, the head, and parameters spread over the sorted names.

    A shift that a batch norm in training mode takes away again has gradient 0 but for rounding: left out.
    """
    size = {n: p.grad.abs().mean().item() for n, p in net.named_parameters()}
    names = [n for n in size if size[n] > 1e-12]
    idle = [n for n in size if size[n] <= 1e-12]
    assert all(n.endswith("bias") for n in idle)
    if idle:
        print(f"  {len(idle)} without gradient, such as {spread(idle, 4)}; "
              f"the smallest other is {min(size[n] for n in names):.1g}")
    chosen = {names[0], head(net)[0] + ".weight", head(net)[0] + ".bias"}
    return sorted(chosen.union(spread(sorted(names), GRADIENT_TENSORS)))


def gradient_error(net, x, labels, reference, names):
    """How far PyTorch's own f32 gradients are from f64: the largest over the rows that are compared."""
    logits = net.train()(x.float())
    logits = logits[0] if isinstance(logits, tuple) else logits
    torch.nn.functional.cross_entropy(logits, labels).backward()
    found = dict(net.named_parameters())
    errors = [(found[n].grad.double() - reference[n].grad).abs().max() / reference[n].grad.abs().max() for n in names]
    return float(f"{max(errors).item():.2g}")


def golden(name, classes, gain, make, reader, twin):
    net = build(make, gain)
    x = torch.from_numpy(generate_input())
    labels = torch.tensor([(37 * i + 11) % classes for i in range(BATCH)])
    state = net.state_dict()
    entry = {
        "classes": classes,
        "gain": gain,
        "parameters": sum(p.numel() for p in net.parameters()),
        "tensors": len(state),
        "keys": keys_hash(state),
    }
    out, taken = {}, []
    hook = head(net)[1].register_forward_pre_hook(lambda m, i: taken.append(i[0]))
    net.eval()
    with torch.no_grad():
        entry["macs"] = count_macs(net, x[:1])
        taken.clear()
        forward, handles = reader(net)
        stages, logits = forward(x)
        check_twin(twin, gain, x, logits)
    out["eval.logits"] = logits.numpy()
    out["eval.embedding"] = summary(taken[-1])
    out["eval.stages"] = np.stack([summary(s) for s in stages])
    entry["stages"] = [[s.shape[1], SIDE // s.shape[2]] for s in stages]
    for handle in handles + [hook]:
        handle.remove()

    net.train()
    logits = net(x)
    logits = logits[0] if isinstance(logits, tuple) else logits
    loss = torch.nn.functional.cross_entropy(logits, labels)
    loss.backward()
    norms = [n for n, m in sorted(net.named_modules()) if isinstance(m, torch.nn.BatchNorm2d)]
    entry["running"] = spread(norms, RUNNING_LAYERS)
    entry["gradients"] = gradient_names(net)
    entry["loss"] = loss.item()
    modules, parameters = dict(net.named_modules()), dict(net.named_parameters())
    entry["gradient_error_f32"] = gradient_error(build(make, gain).float(), x, labels, parameters, entry["gradients"])
    out["train.logits"] = logits.detach().numpy()
    out["train.running"] = np.stack([
        [sample(getattr(modules[n], f), RUNNING_SAMPLES) for f in ("running_mean", "running_var")]
        for n in entry["running"]])
    out["train.gradients"] = np.stack([
        np.append(sample(parameters[n].grad, GRADIENT_SAMPLES), parameters[n].grad.abs().mean().item())
        for n in entry["gradients"]])
    scale = " ".join(f"{s.abs().mean().item():.2g}" for s in stages)
    difference = (logits[0] - logits[1]).abs().max().item()
    print(f"{name:20} {entry['parameters']:>10} {entry['tensors']:>4} {entry['macs']:>12} "
          f"mean |stage| {scale}; logits {np.abs(out['eval.logits']).max():.2g}, "
          f"between images {np.abs(out['eval.logits'][0] - out['eval.logits'][1]).max():.2g} / {difference:.2g} (train)")
    return entry, {f"{name}.{k}": v.astype(np.float32) for k, v in out.items()}


def generate_input():
    """[BATCH, 3, SIDE, SIDE], image b in [-b - 1, b + 1), numbers that f32 holds exactly."""
    values = uniform("input", BATCH * 3 * SIDE * SIDE).reshape(BATCH, 3, SIDE, SIDE)
    values = values * np.arange(1.0, BATCH + 1)[:, None, None, None]
    return values.astype(np.float32).astype(np.float64)


def check_twin(twin, gain, x, logits):
    """The two repositories' networks of one name are the same network."""
    if twin is None:
        return
    other = build(twin, gain).eval()
    result = other(x)
    assert torch.equal(result[0] if isinstance(result, tuple) else result, logits)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for clone in ("repdistiller", "mdistiller", "akamaster", "distiller"):
        parser.add_argument(f"--{clone}", required=True, metavar="DIR")
    parser.add_argument("--out", default=pathlib.Path(__file__).parent, type=pathlib.Path, metavar="DIR")
    args = parser.parse_args()
    torch.set_num_threads(1)
    manifest, tensors = {}, {}
    for name, *row in table(args):
        manifest[name], arrays = golden(name, *row)
        tensors.update(arrays)
    save_file(tensors, args.out / "golden.safetensors")
    text = json.dumps({"seed": SEED, "batch": BATCH, "side": SIDE, "models": manifest}, indent=1)
    (args.out / "golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
