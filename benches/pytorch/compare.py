"""Times `taper bench step` and PyTorch in alternation on this machine and prints the ratios.

    cargo build --release --bin taper
    cargo build --release -p taper-kernels --example ops_speed
    python benches/pytorch/compare.py [--rounds 5] [--threads 1 2]

First whole training steps, then NORM's feature loss, forward and with backward, at the shapes of the
published pairs at batch 64 (PyTorch: `N * ((e - f_t.repeat(1, N, 1, 1)) ** 2).mean()`).

Needs PyTorch (CPU). PyTorch runs at its best: glibc is told to keep freed pages, denormals are
flushed, and both memory layouts are tried. A ratio below 1 means that Taper is faster.
"""

import argparse
import json
import os
import subprocess
import sys
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--taper", default="target/release/taper")
    parser.add_argument("--ops", default="target/release/examples/ops_speed")
    parser.add_argument("--models", nargs="+", default=["resnet20", "wrn_16_2"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    print("| model | threads | Taper ms | PyTorch NCHW ms | PyTorch NHWC ms | ratio NCHW | ratio NHWC | Taper peak MB | PyTorch peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model in options.models:
        for threads in options.threads:
            ours = [options.taper, "bench", "step", model, "--batch", str(options.batch),
                    "--threads", str(threads), "--json"]
            theirs = [sys.executable, HERE / "step.py", model, "--batch", str(options.batch),
                      "--threads", str(threads)]
            contenders = {
                "taper": (ours, None),
                "nchw": (theirs, KEEP_PAGES),
                "nhwc": (theirs + ["--channels-last"], KEEP_PAGES),
            }
            results = {name: [] for name in contenders}
            for _ in range(options.rounds):
                for name, (command, environment) in contenders.items():
                    results[name].append(run(command, environment))
            counts = {result["parameters"] for all_ in results.values() for result in all_}
            assert len(counts) == 1, f"not the same network: {counts} parameters"
            least = {n: min(r["min_s"] for r in all_) for n, all_ in results.items()}
            middle = {
                n: sorted(r["median_s"] for r in all_)[len(all_) // 2] for n, all_ in results.items()
            }
            peak = {n: max(r["peak_bytes"] for r in all_) / 1e6 for n, all_ in results.items()}
            cell = lambda n: f"{1e3 * least[n]:.1f} (median {1e3 * middle[n]:.1f})"
            ratio = lambda n: (
                f"{least['taper'] / least[n]:.2f} (median {middle['taper'] / middle[n]:.2f})"
            )
            print(
                f"| {model} | {threads} | {cell('taper')} | {cell('nchw')} | {cell('nhwc')} | "
                f"{ratio('nchw')} | {ratio('nhwc')} | {peak['taper']:.0f} | {peak['nchw']:.0f} |",
                flush=True,
            )
    for threads in options.threads:
        print_operators(options, threads)


if __name__ == "__main__":
    main()
