#!/bin/sh
# Seeds each target with the corpus of tests/weights that is of its kind.
set -eu
cd "$(dirname "$0")"
seed() { mkdir -p "corpus/$1"; shift_to=$1; shift; for file in "$@"; do cp "$file" "corpus/$shift_to/$(basename "$(dirname "$file")")-$(basename "$file")"; done; }
good=../tests/weights/good
bad=../tests/weights/bad
seed pickle $good/*.pkl $good/*.pth $good/*.tar $bad/*.pkl $bad/*.pth
seed zip $good/*.pt $good/*.npz $bad/*.pt $bad/*.npz
seed safetensors $good/*.safetensors $bad/*.safetensors
seed npy $good/*.npy $bad/*.npy
