"""The whole model as one graph, to be exported: teacher, students, score maps, combination."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from blemish.method.beside.surface import Surface
from blemish.method.imitation import resampling_matrix
from blemish.method.scoring import AnyModule, module_maps
from blemish.method.teacher import Teacher
from blemish.storage.offline import folder_dropped


class Graph(nn.Module):
    """From resized images to the combined score map, by the very functions that score in `scoring`.

    Call it with one batch for each of `sizes`, ascending: (B, size, size, 3) uint8; it returns (B, R, R) float32 at the
    reference size R, before it is put on the scale of the threshold, and with a surface what that says, (B,). Every
    teacher stage runs once per size. The maps are resampled by matrices, along rows and along columns: the same
    bilinear weights as `imitation.resample`, in a fifth of the time.
    """

    def __init__(
        self,
        teacher: Teacher,
        modules: Sequence[AnyModule],
        *,
        reference_size: int,
        score: str,
        surface: Surface | None = None,
    ) -> None:
        super().__init__()
        self.teacher, self.modules_, self.score, self.surface = teacher, nn.ModuleList(modules), score, surface
        self.sizes = sorted({module.size for module in modules})
        matrices = [resampling_matrix(module.size >> min(module.levels), reference_size) for module in modules]
        # Side by side, the matrices of the rows add up all modules in one product.
        weighted = [module.weight * matrix for module, matrix in zip(modules, matrices, strict=True)]
        self.rows = nn.Buffer(torch.cat(weighted, dim=1).contiguous())
        self.columns = [matrix.T.contiguous() for matrix in matrices]

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Return the combined score maps of a batch, and what the surface says, if anything looks at it."""
        pyramid = {size: batch.permute(0, 3, 1, 2) for size, batch in zip(self.sizes, images, strict=True)}
        every = [*self.modules_, *filter(None, [self.surface])]
        maps = module_maps(self.teacher, every, pyramid, score=self.score)
        wide = [score_map @ matrix for score_map, matrix in zip(maps, self.columns, strict=False)]
        return self.rows @ torch.cat(wide, dim=1), *maps[len(wide) :]


def write_onnx(path: Path, graph: Graph) -> None:
    """Write a graph as an ONNX file that holds all its values, for one image.

    Inputs are image128, image256 ...; outputs map and, if it looks at that, surface.
    """
    images = tuple(torch.zeros((1, size, size, 3), dtype=torch.uint8) for size in graph.sizes)
    with torch.inference_mode(), warnings.catch_warnings(), folder_dropped("TORCHINDUCTOR_CACHE_DIR"):
        warnings.simplefilter("ignore")  # of torch's own use of what is to go
        program = torch.onnx.export(
            graph.eval(),
            images,
            dynamo=True,
            input_names=[f"image{size}" for size in graph.sizes],
            output_names=["map", "surface"] if graph.surface else ["map"],
            verbose=False,
        )
    assert program is not None, "dynamo always returns a program"
    program.save(path, external_data=False)
