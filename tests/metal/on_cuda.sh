#!/usr/bin/env bash
# The Metal kernels, translated to CUDA, on an NVIDIA GPU: the shared cases against float64, compute-sanitizer's memcheck
# and racecheck over all of them, and times beside copies of the same bytes, torch's operators and MLX's kernels.
#
# Needs fusedops, torch with CUDA, nvcc and compute-sanitizer. PYTEST_ADDOPTS="-n 8" compiles kernels in parallel first.
# Arguments go to bench/metal_on_cuda.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
set -x
$python -m pytest -q sim/test_cuda.py
$python -m pytest -q test_semantics.py test_pains.py test_hypothesis.py -k metal-on-cuda
for tool in memcheck racecheck; do
  PYTEST_ADDOPTS="" compute-sanitizer --tool $tool --error-exitcode 1 $python -m pytest -q -x test_semantics.py -k metal-on-cuda
done
$python ../bench/metal_on_cuda.py "$@"
