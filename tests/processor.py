"""What OpenVINO can compute in on this processor: tests of bfloat16 and of 8 bits ask first."""

import os
import re
from pathlib import Path

import pytest

CAPPED = "ONEDNN_MAX_CPU_ISA" in os.environ  # OpenVINO goes on naming bfloat16, which its kernels then lack


def has_bfloat16():
    import openvino

    return not CAPPED and "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def has_exact_int8():
    """Whether sums of 8-bit products do not saturate: elsewhere than on x86 they do not, there VNNI sees to it."""
    flags = Path("/proc/cpuinfo")
    found = flags.read_text() if flags.exists() else ""
    return "flags\t" not in found or (not CAPPED and bool(re.search(r"\bavx(512)?_vnni\b", found)))


needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="no bfloat16 in this processor")
# Without, sums of 8 bits saturate; whether a golden image shows it depends on the model, so nothing can be asserted.
needs_exact_int8 = pytest.mark.skipif(not has_exact_int8(), reason="sums of 8 bits saturate in this processor")
