"""Scores images with an exported model; needs numpy, Pillow and onnxruntime or OpenVINO, and never imports torch."""

from blemish.runtime.runtime import Runtime

__all__ = ["Runtime"]
