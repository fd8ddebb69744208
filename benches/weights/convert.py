#!/usr/bin/env python3
"""Times `taper weights convert` beside a plain copy of the same file, in alternation, both synced.

    cargo build --release --bin taper
    python benches/weights/convert.py --gigabytes 2 --rounds 5

Needs PyTorch to write the file (random f32 tensors of mixed sizes). Caches are warm: both sides read
the file from memory and write to the same folder; each result is removed before the next round.
"""
import argparse, os, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def write(path, gigabytes, legacy):
    import torch

    torch.manual_seed(0)
    sizes = [(4096, 4096), (4096, 1024), (1024, 1024), (1024,), (512, 512, 3, 3), (512,)]
    block = sum(4 * torch.Size(size).numel() for size in sizes)
    count = max(1, round(gigabytes * 1e9 / block))
    state = {
        f"layers.{i}.{j}.weight": torch.randn(size) for i in range(count) for j, size in enumerate(sizes)
    }
    torch.save({"state_dict": state, "epoch": 1}, path, _use_new_zipfile_serialization=not legacy)


def timed(command):
    """Wall clock of the command and of writing back what it left, and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: {process.returncode}")
    os.sync()
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--legacy", action="store_true", help="the stream of before PyTorch 1.6")
    parser.add_argument("--taper", default=str(ROOT / "target/release/taper"))
    parser.add_argument("--write", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        return write(arguments.write, arguments.gigabytes, arguments.legacy)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source, copy = f"{folder}/large.pth", f"{folder}/copy.pth"
        converted = f"{folder}/large.safetensors"
        # In a process of its own: a child's peak memory starts at that of the process that forks it.
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--write", source], check=True)
        os.sync()
        size = os.path.getsize(source)
        runs = {
            "cp": (["cp", source, copy], copy),
            "convert": ([arguments.taper, "weights", "convert", source, converted, "--quiet"], converted),
        }
        found = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, (command, result) in runs.items():
                found[name].append(timed(command))
                os.remove(result)
                os.sync()
        medians = {name: statistics.median(t for t, _ in rows) for name, rows in found.items()}
        for name, rows in found.items():
            times = " ".join(f"{seconds:.2f}" for seconds, _ in rows)
            peak = max(memory for _, memory in rows)
            print(f"{name:8} median {medians[name]:.2f} s ({size / 1e9 / medians[name]:.2f} GB/s), peak {peak:.0f} MB: {times}")
        print(f"{size / 1e9:.2f} GB, convert / cp = {medians['convert'] / medians['cp']:.2f}")


if __name__ == "__main__":
    main()
