"""What stands as an example in the document of the addresses; a test sends and reads all of them."""

from typing import Any

THRESHOLDS = {"review": 0.41, "ng": 0.52}
CORRECTED = {"verdict": "OK", "who": "Ada", "why": "dust", "at": "2026-03-04T12:05:00Z"}
CHANGED = {"thresholds": THRESHOLDS, "who": "Ada", "why": "new lamp", "at": "2026-03-04T08:00:00Z"}
INSPECTED: dict[str, Any] = {
    "id": 17,
    "model": "brick",
    "fingerprint": "5e" * 32,
    "name": "0017.png",
    "source": "camera 1",
    "at": "2026-03-04T12:00:00Z",
    "sha256": "a7" * 32,
    "width": 640,
    "height": 480,
    "score": 0.47,
    "verdict": "REVIEW",
    "standing": "OK",
    "thresholds": THRESHOLDS,
    "regions": [{"area": 120, "share": 0.0004, "box": [310, 200, 14, 11], "peak": 0.47, "mean": 0.43}],
    "times": {"queue": 0.2, "decode": 4.1, "score": 27.5},
    "corrections": [CORRECTED],
    "kept": True,
    "links": {
        "inspection": "/v1/inspections/17",
        "image": "/v1/inspections/17/image.png",
        "small": "/v1/inspections/17/small.jpg",
        "map": "/v1/inspections/17/map.png",
        "scores": "/v1/inspections/17/map.npy",
        "overlay": "/v1/inspections/17/overlay.png",
    },
}
PAGE = {"inspections": [INSPECTED], "next": "1772625600000000-17"}
COUNTED = {"verdicts": {"OK": 970, "REVIEW": 20, "NG": 10}, "false_alarms": 3, "escapes": 1}
MODEL = {
    "name": "brick",
    "fingerprint": "5e" * 32,
    "precision": "float32",
    "loaded": "2026-03-04T06:00:00Z",
    "golden": 5,
    "thresholds": THRESHOLDS,
    "own_thresholds": {"review": 0.4, "ng": 0.5},
    "changes": [CHANGED],
}
MODELS = {"models": [MODEL]}
FAULT = {"error": "there is no such inspection"}
CORRECT = {"verdict": "OK", "who": "Ada", "why": "dust"}
CHANGE = {"review": 0.41, "ng": 0.52, "who": "Ada", "why": "new lamp"}
LOAD = {"who": "Ada"}
