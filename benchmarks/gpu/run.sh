#!/usr/bin/env bash
# On a machine with a CUDA GPU, Python and torch with CUDA, and no network: all of run.py, in under nine minutes.
#
#     bash benchmarks/gpu/run.sh FOLDER OUT [--dry]
#
# FOLDER: what pack.sh has made. OUT: a new folder, for results.jsonl and the model. --dry: tiny, on the CPU.
set -euo pipefail
folder=$(realpath "$1")
mkdir "$2"
out=$(realpath "$2")
shift 2
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
"$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$out/site" "$folder"/wheels/*.whl
PYTHONPATH="$out/site" PYTHONUNBUFFERED=1 exec "$python" run.py "$folder/category" "$out" "$@"
