"""The peer of `taper bench kernels`: computes and times the same cases in PyTorch.

    python kernels.py --threads 2 --device cpu

Reads one JSON object a line from stdin and answers each with one on stdout:

    hello                                             -> description
    case {kernel, arguments, options, differentiable} -> providers: ways to compute it here
    results {provider, upstream}                      -> files: result and gradients, raw f32
    burst {provider, mode, seconds, least}            -> seconds of each call

Arguments are files of raw numbers (f32, or u32 read as integers). A kernel is a function of the
arguments by name and the options. `torch.compile` is one more provider of each; on a GPU there are
Triton twins (`triton_twins.py`), and Liger where it is installed.
"""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

import torch
import torch.nn.functional as F

KERNELS = {}
# In place: they return a function to call again and again, made once.
STEPS = {}
# Nothing to fuse: one library call, which torch.compile leaves as it is.
SINGLE_CALLS = {f"conv{axes}d_{what}_gradient" for axes in (1, 2) for what in ("input", "weight")} | {"matmul"}


def kernel(function):
    KERNELS[function.__name__] = function
    return function


def step(function):
    STEPS[function.__name__] = function
    return function


def convolution_gradient(gradient, x, weight, o, wanted):
    axes = gradient.dim() - 2
    settings = [o["stride"]] * axes, [o["padding"]] * axes, [1] * axes, False, [0] * axes, o["groups"]
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, *settings, wanted)


def input_gradient(a, o):
    x = a["g"].new_empty(1).expand(o["input"])  # only its shape counts
    return convolution_gradient(a["g"], x, a["w"], o, [True, False, False])[0]


def weight_gradient(a, o):
    weight = a["g"].new_empty(1).expand(o["weight"])
    return convolution_gradient(a["g"], a["x"], weight, o, [False, True, False])[1]


@kernel
def conv2d(a, o):
    return F.conv2d(a["x"], a["w"], None, o["stride"], o["padding"], 1, o["groups"])


@kernel
def conv1d(a, o):
    return F.conv1d(a["x"], a["w"], None, o["stride"], o["padding"], 1, o["groups"])


@kernel
def conv_transpose1d(a, o):
    return F.conv_transpose1d(a["x"], a["w"], None, o["stride"], o["padding"], o["output_padding"])


for axes in ("conv1d", "conv2d"):
    KERNELS[f"{axes}_input_gradient"], KERNELS[f"{axes}_weight_gradient"] = input_gradient, weight_gradient


@kernel
def conv_bn_act(a, o):
    y = F.batch_norm(conv2d(a, o), None, None, a["gamma"], a["beta"], True, 0.1, 1e-5)
    return F.relu(y + a["residual"])


@kernel
def batch_norm_train(a, o):
    y = F.batch_norm(a["x"], None, None, a["weight"], a["bias"], True, 0.1, 1e-5)
    if "residual" in a:
        y = y + a["residual"]
    return F.relu(y) if o["relu"] else y


@kernel
def batch_norm_eval(a, o):
    y = F.batch_norm(a["x"], a["running_mean"], a["running_var"], a["weight"], a["bias"], False, 0.1, 1e-5)
    return F.relu(y) if o["relu"] else y


@kernel
def max_pool2d(a, o):
    return F.max_pool2d(a["x"], o["window"], o["stride"], o["padding"])


@kernel
def max_pool1d(a, o):
    return F.max_pool1d(a["x"], o["window"], o["stride"], o["padding"])


@kernel
def avg_pool1d(a, o):
    return F.avg_pool1d(a["x"], o["window"], o["stride"], o["padding"])


@kernel
def avg_pool2d(a, o):
    return F.avg_pool2d(a["x"], o["window"], o["stride"], o["padding"])


@kernel
def adaptive_avg_pool2d(a, o):
    return F.adaptive_avg_pool2d(a["x"], o["side"])


@kernel
def global_avg_pool2d(a, o):
    return F.adaptive_avg_pool2d(a["x"], 1).flatten(1)


@kernel
def relu(a, o):
    return F.relu(a["x"])


@kernel
def add_relu(a, o):
    return F.relu(a["a"] + a["b"])


for name in ("sigmoid", "tanh"):
    KERNELS[name] = lambda a, o, function=getattr(torch, name): function(a["x"])
for name, function in {"silu": F.silu, "gelu": F.gelu, "hard_swish": F.hardswish, "glu": F.glu}.items():
    KERNELS[name] = lambda a, o, function=function: function(a["x"])


@kernel
def gelu_tanh(a, o):
    return F.gelu(a["x"], approximate="tanh")


@kernel
def layer_norm(a, o):
    return F.layer_norm(a["x"], a["weight"].shape, a["weight"], a["bias"], 1e-5)


@kernel
def group_norm(a, o):
    return F.group_norm(a["x"], o["groups"], a["weight"], a["bias"], 1e-6)


@kernel
def group_norm_silu(a, o):
    return F.silu(group_norm(a, o))


@kernel
def softmax(a, o):
    return F.softmax(a["x"], -1)


@kernel
def gather(a, o):
    return torch.gather(a["x"], o["axis"], a["index"])


@kernel
def scatter_add(a, o):
    return torch.scatter_add(a["x"], o["axis"], a["index"], a["source"])


@kernel
def embedding(a, o):
    return F.embedding(a["index"], a["weight"])


@kernel
def permute(a, o):
    return a["x"].permute(o["axes"]).contiguous()


@kernel
def sum_axes(a, o):
    return a["x"].sum(o["axes"])


@kernel
def matmul(a, o):
    return a["a"] @ a["b"]


@kernel
def linear(a, o):
    return F.linear(a["x"], a["weight"], a["bias"])


@kernel
def log_softmax(a, o):
    return F.log_softmax(a["x"], -1)


@kernel
def cross_entropy(a, o):
    return F.cross_entropy(a["logits"], a["targets"], label_smoothing=o["label_smoothing"])


@kernel
def segment_match(a, o):
    n = o["slices"]
    return n * ((a["expanded"] - a["teacher"].repeat(1, n, 1, 1)) ** 2).mean()


@kernel
def ctc_loss(a, o):
    log_probs = F.log_softmax(a["logits"], -1)
    return F.ctc_loss(log_probs, a["targets"] + 1, o["input_lengths"], o["target_lengths"], reduction="sum")


@kernel
def resize_bilinear2d(a, o):
    return F.interpolate(a["x"], o["size"], mode="bilinear", align_corners=o["align_corners"])


@kernel
def resize_nearest2d(a, o):
    return F.interpolate(a["x"], o["size"], mode="nearest")


def per_sample(numbers, like):
    return numbers.reshape(-1, *[1] * (like.dim() - 1))


@kernel
def interpolate(a, o):
    t = per_sample(a["t"], a["x"])
    return t * a["z"] + (1 - t) * a["x"]


@kernel
def rk_step(a, o):
    dt = per_sample(a["dt"], a["x"])
    slopes = [a[f"k{index + 1}"] for index in range(o["order"])]
    # By the published rule all states have one slope.
    slope = sum(weight * slope for weight, slope in zip(o["weights"][0], slopes))
    return [a["x"] - steps * dt * slope for steps in o["steps"]]


@kernel
def catchup_loss(a, o):
    g, mask = a["velocity"], per_sample(a["mask"] != 0, a["velocity"])
    total = 0
    for head in range(1, o["heads"] + 1):
        target = torch.where(mask, a[f"u{head}"], g)
        total = total + F.mse_loss(a[f"p{head}"], target) + F.mse_loss(a[f"p{head}"], g)
    return total


@kernel
def sampler_update(a, o):
    v = (a["x"] - (a["x"] - o["t"] * a["v"]).clamp(-1, 1)) / o["t"]
    return a["x"] - o["h"] * v


@kernel
def squared_norm(a, o):
    return (a["grad"] ** 2).sum()


@step
def sgd_step(a, o):
    parameter = torch.nn.Parameter(a["param"])
    parameter.grad = a["grad"]
    optimiser = torch.optim.SGD(
        [parameter], lr=o["learning_rate"], momentum=o["momentum"], weight_decay=o["weight_decay"], fused=True
    )
    optimiser.state[parameter]["momentum_buffer"] = a["velocity"]
    return lambda: (optimiser.step(), parameter.detach())[1]


@step
def adamw_step(a, o):
    parameter = torch.nn.Parameter(a["param"])
    parameter.grad = a["grad"]
    optimiser = torch.optim.AdamW([parameter], lr=o["learning_rate"], weight_decay=o["weight_decay"], fused=True)
    optimiser.state[parameter] = {
        "step": torch.tensor(float(o["steps_before"]), device=a["param"].device),
        "exp_avg": a["exp_avg"],
        "exp_avg_sq": a["exp_avg_sq"],
    }
    return lambda: (optimiser.step(), parameter.detach())[1]


@step
def ema_step(a, o):
    return lambda: a["average"].lerp_(a["param"], 1 - o["momentum"])


def liger_twins():
    """Kernels of linkedin/Liger-Kernel, where it is installed and a GPU is in use."""
    twins = {}
    try:
        from liger_kernel.ops.layer_norm import LigerLayerNormFunction
        from liger_kernel.ops.softmax import LigerSoftmaxFunction
    except ImportError:
        return twins
    twins["layer_norm"] = lambda a, o: LigerLayerNormFunction.apply(a["x"], a["weight"], a["bias"], 1e-5)
    twins["softmax"] = lambda a, o: LigerSoftmaxFunction.apply(a["x"])
    return twins


class Peer:
    def __init__(self, threads, device):
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.device = torch.device(device)
        torch.empty(1, device=self.device)  # fails here if there is none
        self.twins = {}
        if self.device.type == "cuda":
            try:
                import triton
                import triton_twins

                self.twins["triton"] = (triton.__version__, triton_twins.TWINS)
            except ImportError:
                pass
            twins = liger_twins()
            if twins:
                from importlib.metadata import version

                self.twins["liger"] = (version("liger-kernel"), twins)

    def hello(self, _):
        return {"description": f"PyTorch {torch.__version__} on {self.device}"}

    def case(self, question):
        torch._dynamo.reset()
        self.options, self.specification = question["options"], question["arguments"]
        self.differentiable, self.calls, self.tensors = question["differentiable"], {}, {}
        name, self.ways = question["kernel"], {}
        version = torch.__version__
        providers = []

        def provide(provider, version, way):
            self.ways[provider] = way
            providers.append({"name": provider, "version": version})

        if name in STEPS:
            provide("pytorch", version, STEPS[name])
            provide("torch.compile", version, lambda a, o: torch.compile(STEPS[name](a, o)))
        elif name in KERNELS:
            way = KERNELS[name]
            provide("pytorch", version, lambda a, o: lambda: way(a, o))
            if name not in SINGLE_CALLS:
                compiled = torch.compile(lambda a: way(a, self.options), dynamic=False)
                provide("torch.compile", version, lambda a, o: lambda: compiled(a))
        for provider, (twin_version, twins) in self.twins.items():
            if name in twins:
                provide(provider, twin_version, lambda a, o, twin=twins[name]: lambda: twin(a, o))
        return {"providers": providers}

    def load(self, tracked):
        tensors = {}
        for argument in self.specification:
            dtype = torch.int32 if argument["integers"] else torch.float32
            flat = torch.frombuffer(bytearray(Path(argument["file"]).read_bytes()), dtype=dtype)
            tensor = flat.clone().reshape(argument["dims"]).to(self.device)
            if argument["integers"]:
                tensor = tensor.long()
            tensors[argument["name"]] = tensor.requires_grad_(tracked and argument["learned"])
        return tensors

    def call(self, provider, tracked):
        """The function of a provider with its arguments, made once for tracked and once for plain tensors."""
        key = provider, tracked
        if key not in self.calls:
            self.tensors[key] = self.load(tracked)
            self.calls[key] = self.ways[provider](self.tensors[key], self.options)
        return self.calls[key], self.tensors[key]

    def leaves(self, tensors):
        return [tensors[argument["name"]] for argument in self.specification if argument["learned"]]

    def results(self, question):
        call, tensors = self.call(question["provider"], self.differentiable)
        result = call()
        # Of several the last is compared.
        result = result[-1] if isinstance(result, list) else result
        results = [result]
        if self.differentiable:
            flat = torch.frombuffer(bytearray(Path(question["upstream"]).read_bytes()), dtype=torch.float32)
            upstream = flat.clone().reshape(result.shape).to(self.device)
            results += torch.autograd.grad(result, self.leaves(tensors), upstream)
        files = []
        for index, tensor in enumerate(results):
            files.append(str(Path(__file__).parent / f"result{index}.raw"))
            Path(files[-1]).write_bytes(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        if question["provider"] in self.ways and not self.differentiable:
            # A step has changed its arguments; timing starts from new ones.
            self.calls.clear()
        return {"files": files}

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def once(self, mode, call, leaves):
        """Seconds of one call; what it made is freed after the clock has stopped."""
        forward_only = mode == "forward"
        result = call() if mode == "backward" else None
        self.synchronize()
        begin = time.perf_counter()
        if forward_only:
            made = call()
        else:
            result = call() if result is None else result
            made = torch.autograd.grad(result, leaves, torch.ones_like(result))
        self.synchronize()
        elapsed = time.perf_counter() - begin
        del made
        return elapsed

    def burst(self, question):
        mode = question["mode"]
        call, tensors = self.call(question["provider"], mode != "forward")
        leaves = self.leaves(tensors)
        for _ in range(3 if question["provider"] == "torch.compile" else 1):
            self.once(mode, call, leaves)
        seconds, begun = [], time.perf_counter()
        while len(seconds) < question["least"] or time.perf_counter() - begun < question["seconds"]:
            seconds.append(self.once(mode, call, leaves))
        return {"seconds": seconds}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    # Compilers print to stdout; answers keep it for themselves.
    answers, sys.stdout = sys.stdout, sys.stderr
    peer = Peer(options.threads, options.device)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(peer, question["command"])(question)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
