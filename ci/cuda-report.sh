#!/usr/bin/env bash
# On a machine with an NVIDIA GPU and a CUDA toolkit: the correctness report and the table of
# figures, in one go. Everything is also kept in target/cuda-report/.
#
#   ci/cuda-report.sh
set -uo pipefail
cd "$(dirname "$0")/.."
out=target/cuda-report
mkdir -p "$out"
failed=0

section() { printf '\n== %s\n' "$*"; }
# Runs a command, keeps what it prints in $out/NAME.txt, and remembers whether it failed.
keep() {
    local name=$1
    shift
    "$@" 2>&1 | tee "$out/$name.txt" || { failed=1; printf 'FAILED: %s\n' "$*"; }
}

section "build"
cargo build --locked --release --features cuda --bin taper || exit 1
build=$(cargo test --locked --release --features cuda -p taper-kernels --test cuda --no-run 2>&1) || { printf '%s\n' "$build"; exit 1; }
tests=$(printf '%s\n' "$build" | sed -n 's/.*Executable.*(\(.*\))/\1/p')

section "doctor"
keep doctor target/release/taper doctor

section "every operator against the CPU in f64"
keep correctness "$tests" --nocapture --test-threads 1

if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck; do
        section "compute-sanitizer $tool"
        keep "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" --test-threads 1
    done
else
    section "compute-sanitizer is not installed: skipped"
fi

section "figures"
keep bench target/release/taper --device cuda bench kernels
keep bench-json target/release/taper --device cuda bench kernels --json >/dev/null
exit "$failed"
