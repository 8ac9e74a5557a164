#!/usr/bin/env bash
# Both phases of FLOAT on one machine with 8 GPUs; the same command again goes on from the last checkpoints.
#
#   CONFIG=float-512 OUT=runs/paper bash examples/train_8gpu.sh [options of `floatbench train`, e.g. --allow-missing]
#
# PROCESSES, WORKERS (that decode, for each process), PHASES and PYTHON may be set, too.
set -euo pipefail
CONFIG=${CONFIG:-float-512}
OUT=${OUT:-runs/paper}
PROCESSES=${PROCESSES:-8}
WORKERS=${WORKERS:-8}
PHASES=${PHASES:-autoencoder flow}
PYTHON=${PYTHON:-python}

for phase in $PHASES; do
    resume=""
    if [ -f "$OUT/$phase/checkpoint.safetensors" ]; then resume="--resume"; fi
    "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node "$PROCESSES" \
        -m floatbench train "$phase" --config "$CONFIG" --out "$OUT" --workers "$WORKERS" $resume "$@"
done
