#!/usr/bin/env bash
# Builds the real program with CUDA from a toolkit of Python wheels, and starts it on this machine,
# which needs no GPU and no CUDA library. By hand: it takes minutes and 2 GB of disk.
#
#   ci/cuda-start.sh [FOLDER]      default: target/cuda
#
# CUDA_COMPUTE_CAP (default 80: for compute capability 8.0 and every later GPU), JOBS (default 1).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mkdir -p "${1:-target/cuda}" && cd "${1:-target/cuda}" && pwd)

if [ ! -x "$folder/venv/bin/python" ]; then python3 -m venv "$folder/venv"; fi
"$folder/venv/bin/pip" install -q --disable-pip-version-check -r ci/cuda-requirements.txt
CUDA_HOME=$(echo "$folder"/venv/lib/python3*/site-packages/nvidia/cu13)
export CUDA_HOME
# The layout and the names of a toolkit that an installer put there.
if [ ! -e "$CUDA_HOME/lib64" ]; then ln -s lib "$CUDA_HOME/lib64"; fi
for library in "$CUDA_HOME"/lib/lib*.so.*; do
    plain=${library%%.so.*}.so
    if [ ! -e "$plain" ]; then ln -s "$(basename "$library")" "$plain"; fi
done
export NVCC="$CUDA_HOME/bin/nvcc" CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
chmod +x "$CUDA_HOME"/bin/* "$CUDA_HOME"/nvvm/bin/* 2>/dev/null || true
"$NVCC" --version | tail -2

# Debug information would only cost disk here.
CARGO_PROFILE_RELEASE_DEBUG=0 CUDAFORGE_THREADS="${JOBS:-1}" \
    cargo build --locked --release --features cuda --bin taper --jobs "${JOBS:-1}" --target-dir "$folder/target"

program=$folder/target/release/taper
ls -l "$program"
echo "Libraries that the program needs to start:"
readelf -d "$program" | sed -n 's/.*NEEDED.*\[\(.*\)\]/  \1/p'
if readelf -d "$program" | grep NEEDED | grep -Eq 'lib(cuda|cudart|cublas|cublasLt|curand|nvrtc)\.'; then
    echo "the program needs a CUDA library to start" >&2
    exit 1
fi
echo "Started without any:"
env -u LD_LIBRARY_PATH "$program" doctor
env -u LD_LIBRARY_PATH "$program" --device cuda bench step resnet8 --batch 8 --json
