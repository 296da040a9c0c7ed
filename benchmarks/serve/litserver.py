"""What `run.py` measures beside: a plain LitServe server around the graph of a bundle, as its documentation writes one.

    pip install litserve onnxruntime pillow numpy python-multipart      # in an environment of its own

It decodes, resizes and scores; it cuts no regions and remembers nothing.
"""

import sys
from io import BytesIO
from pathlib import Path

import litserve
import numpy as np
import onnxruntime
from fastapi import Request
from PIL import Image


class Graph(litserve.LitAPI):
    """A model of LitServe."""

    def setup(self, device):  # noqa: ARG002
        """Load the graph, on one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = Path(sys.argv[1]) / "graph.onnx"
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.sizes = [int(one.name.removeprefix("image")) for one in self.session.get_inputs()]

    def decode_request(self, request: Request):
        """Decode and resize."""
        image = Image.open(BytesIO(request["file"].file.read())).convert("RGB")
        small = (image.resize((size, size), Image.Resampling.BILINEAR) for size in self.sizes)
        return {f"image{size}": np.asarray(one)[None] for size, one in zip(self.sizes, small, strict=True)}

    def predict(self, pyramid):
        """Score."""
        return float(self.session.run(None, pyramid)[0].max())

    def encode_response(self, score):
        """Return the score."""
        return {"score": score}


if __name__ == "__main__":
    port, workers = map(int, sys.argv[2:])
    server = litserve.LitServer(Graph(), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)
