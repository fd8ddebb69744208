"""Times `taper bench step` (and `infer`) and PyTorch in alternation on this machine and prints the ratios.

    cargo build --release --bin taper
    cargo build --release -p taper-kernels --example ops_speed
    python benches/pytorch/compare.py [--rounds 5] [--threads 1 2] [--models resnet20 ...] [--parts step memory infer operators]

First whole training steps, then the memory of a step, inference at 224 pixels, and NORM's feature loss, forward and with
backward, at the shapes of the published pairs at batch 64 (PyTorch: `N * ((e - f_t.repeat(1, N, 1, 1)) ** 2).mean()`).

Needs PyTorch (CPU); ONNX Runtime's column needs onnx and onnxruntime, the memory's a C compiler. PyTorch runs at its
best: glibc is told to keep freed pages, denormals are flushed, and both memory layouts are tried. A ratio below 1 means
that Taper is faster, or needs less.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# glibc otherwise gives large blocks back and faults them in again at every step.
KEEP_PAGES = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def run(command, environment=None):
    result = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True
    )
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{result.stderr}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def operators(program, threads, name, rounds):
    """Lines of the two `ops_speed` programs in alternation: name -> label -> (ours, theirs), least of all rounds."""
    script = HERE.parent.parent / "kernels" / "examples" / "ops_speed.py"
    # As the taper program: pages are kept, and Candle's own pool stays out of the way.
    ours = {"MIMALLOC_PURGE_DELAY": "-1", "CANDLE_NUM_THREADS": "1"}
    contenders = [([program], ours), ([sys.executable, script], KEEP_PAGES)]
    table = {}
    for _ in range(rounds):
        for side, (command, environment) in enumerate(contenders):
            command = [*map(str, command), str(threads), name]
            result = subprocess.run(
                command, env={**os.environ, **environment}, capture_output=True, text=True
            )
            if result.returncode != 0:
                sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
            for line in result.stdout.splitlines():
                row = table.setdefault(line[:44].strip(), {})
                words = line[44:].split()
                for label, value in zip(words[::2], words[1::2]):
                    times = row.setdefault(label, [float("inf")] * 2)
                    times[side] = min(times[side], float(value))
    return table


def print_operators(options, threads):
    print(f"\n| NORM loss, {threads} threads | forward ms, Taper / PyTorch | ratio | with backward ms | ratio |")
    print("|---|---|---|---|---|")
    for name, row in operators(options.ops, threads, "segment_match", options.rounds).items():
        if name.startswith("0.9"):
            continue
        cells = [
            f"{ours:.2f} / {theirs:.2f} | {ours / theirs:.2f}"
            for ours, theirs in (row["fwd"], row["fwd+bwd"])
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def contend(contenders, rounds):
    """Runs the commands in turn: name -> their JSON objects."""
    results = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (command, environment) in contenders.items():
            results[name].append(run(command, environment))
    counts = {result["parameters"] for all_ in results.values() for result in all_}
    assert len(counts) == 1, f"not the same network: {counts} parameters"
    return results


def columns(results, peers):
    """Least (and median) milliseconds of all, then the ratios to the peers."""
    least = {n: 1e3 * min(r["min_s"] for r in all_) for n, all_ in results.items()}
    middle = {n: 1e3 * sorted(r["median_s"] for r in all_)[len(all_) // 2] for n, all_ in results.items()}
    times = [f"{least[n]:.1f} (median {middle[n]:.1f})" for n in ["taper", *peers]]
    ratios = [f"{least['taper'] / least[n]:.2f} (median {middle['taper'] / middle[n]:.2f})" for n in peers]
    return " | ".join(times + ratios)


def print_steps(options):
    print("| model | threads | Taper ms | PyTorch NCHW ms | PyTorch NHWC ms | ratio NCHW | ratio NHWC |")
    print("|---|---|---|---|---|---|---|")
    for model in options.models:
        for threads in options.threads:
            settings = [model, "--batch", str(options.batch), "--threads", str(threads)]
            theirs = [sys.executable, HERE / "step.py", *settings]
            contenders = {
                "taper": ([options.taper, "bench", "step", *settings, "--json"], None),
                "nchw": (theirs, KEEP_PAGES),
                "nhwc": (theirs + ["--channels-last"], KEEP_PAGES),
            }
            results = contend(contenders, options.rounds)
            print(f"| {model} | {threads} | {columns(results, ['nchw', 'nhwc'])} |", flush=True)


def print_memory(options):
    """What a step holds beyond the program itself: asked of the allocator, and resident with each allocator's own habits."""
    shim = Path(tempfile.mkdtemp()) / "malloc_peak.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", shim, HERE / "malloc_peak.c", "-ldl"], check=True)
    print("\n| model, batch | allocated MB, Taper / PyTorch | ratio | resident growth MB, Taper / PyTorch | ratio |")
    print("|---|---|---|---|---|")
    threads = str(max(options.threads))
    for model in options.models:
        settings = [model, "--batch", str(options.batch), "--threads", threads]
        contenders = {
            "taper": ([options.taper, "bench", "step", *settings, "--steps", "10", "--json"], None),
            "counted": ([sys.executable, HERE / "step.py", *settings, "--seconds", "0"], {"LD_PRELOAD": str(shim)}),
            "stock": ([sys.executable, HERE / "step.py", *settings, "--seconds", "0"], None),
        }
        results = {name: all_[0] for name, all_ in contend(contenders, 1).items()}
        pairs = [
            (results["taper"][key] / 1e6, results[peer][key] / 1e6)
            for key, peer in (("allocated_peak_bytes", "counted"), ("resident_growth_bytes", "stock"))
        ]
        cells = " | ".join(f"{ours:.0f} / {theirs:.0f} | {ours / theirs:.2f}" for ours, theirs in pairs)
        print(f"| {model}, {options.batch} | {cells} |", flush=True)


def print_inference(options):
    engines = ["pytorch", "nhwc", "compile"]
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        engines.append("onnx")
    names = {"pytorch": "PyTorch NCHW", "nhwc": "PyTorch NHWC", "compile": "torch.compile", "onnx": "ONNX Runtime"}
    heading = ["Taper ms"] + [f"{names[e]} ms" for e in engines] + [f"ratio {names[e]}" for e in engines]
    print(f"\n| inference, 3x224x224, batch 1 | threads | {' | '.join(heading)} |")
    print("|---" * (len(heading) + 2) + "|")
    for model in options.inference_models:
        for threads in options.threads:
            settings = [model, "--batch", "1", "--threads", str(threads), "--data-shape", "3,224,224"]
            contenders = {"taper": ([options.taper, "bench", "infer", *settings, "--json"], None)}
            for engine in engines:
                contenders[engine] = ([sys.executable, HERE / "infer.py", *settings, "--engine", engine], KEEP_PAGES)
            results = contend(contenders, options.rounds)
            print(f"| {model} | {threads} | {columns(results, engines)} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--taper", default="target/release/taper")
    parser.add_argument("--ops", default="target/release/examples/ops_speed")
    parser.add_argument("--models", nargs="+", default=["resnet20", "wrn_16_2"])
    parser.add_argument("--inference-models", nargs="+", default=["cifar_mobilenetv2", "cifar_resnet50"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=5)
    parts = ["step", "memory", "infer", "operators"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()

    if "step" in options.parts:
        print_steps(options)
    if "memory" in options.parts:
        print_memory(options)
    if "infer" in options.parts:
        print_inference(options)
    for threads in options.threads if "operators" in options.parts else []:
        print_operators(options, threads)


if __name__ == "__main__":
    main()
