"""Networks for tests that need no file: an untrained teacher, and a detector of a few small convolutions."""

import dataclasses
from collections import Counter

import timm
import torch
from torch import nn

from blemish import Detector
from blemish.data.records import DataPart
from blemish.images.preprocessing import PreprocessingPart
from blemish.method.learning import training
from blemish.method.modules import Module
from blemish.method.teacher import Teacher, teacher_from_state
from blemish.model.header import CalibrationPart, Header, ModulePart, TeacherPart
from blemish.model.model import Model

SHORT = {"steps": 120, "warm_steps": 60}
CHANNELS = (3, 4, 5, 6, 7, 8)  # of the image and of f^1 ... f^5


def untrained_teacher():
    """The default teacher with weights by chance, always the same: no file is needed."""
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    return teacher_from_state("tf_efficientnet_lite0", state).to(memory_format=torch.channels_last)


class Stage(nn.Module):
    """A convolution of stride 2, as a stage of teacher or student; every call is counted, and `delay` is called."""

    def __init__(self, name, level, calls, delay):
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS[level - 1], CHANNELS[level], 3, stride=2, padding=1)
        self.name, self.calls, self.delay = name, calls, delay

    def forward(self, x):
        self.calls[self.name] += 1
        self.delay(self.name)
        return torch.relu(self.conv(x))


def tiny_detector(names, *, sizes, reference_size=64, score="whitened", weights=None, delay=lambda name: None):
    """A fitted detector of the modules named SIZE/LEVEL, and the Counter of its calls: T1 ... T5, SIZE/LEVEL."""
    calls = Counter()
    torch.manual_seed(0)
    stages = [Stage(f"T{level}", level, calls, delay) for level in range(1, 6)]
    modules = []
    for index, name in enumerate(names):
        size, level = map(int, name.split("/"))
        weight = weights[index] if weights else 1 / len(names)
        student = Stage(name, level, calls, delay)
        modules.append(Module(student, size=size, level=level, channels=CHANNELS[level], weight=weight))
    header = Header(
        blemish="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        teacher=TeacherPart(name="tf_efficientnet_lite0", sha256="a" * 64, embedded=False),
        preprocessing=PreprocessingPart(mean=[0.5] * 3, std=[0.5] * 3),
        sizes=sizes,
        reference_size=reference_size,
        modules=[ModulePart(size=one.size, level=one.level, weight=one.weight) for one in modules],
        recipe={"name": "fast"},
        seed=3,
        score=score,
        calibration=CalibrationPart(review=0.5, good=-14.0, limit=-8.0),
        data=DataPart(train=[], held_out=[]),
        libraries={},
    )
    detector = Detector()
    detector.model_ = Model(Teacher("tf_efficientnet_lite0", stages, sha256="a" * 64), modules, header)
    return detector, calls


def tell(detector, header):
    """Let a detector say another thing of itself."""
    detector.model_ = dataclasses.replace(detector.model_, header=header)


def short_recipe():
    """The recipe `fast` in a few seconds."""
    return dataclasses.replace(training.RECIPES["fast"], **SHORT)
