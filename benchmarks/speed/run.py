"""Time and memory of predicting one image after the other: blemish in several forms against anomalib's models.

Every contender is a process with its own environment, and all have the same threads. They take turns in shuffled
rounds; ratios are of the same round. Prints Markdown and writes a JSON line for each turn.

    python benchmarks/speed/run.py --data DATA --out OUT --eager all=MODEL --detector all=MODEL --bundle all=BUNDLE
"""

import argparse
import inspect
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tables
from turns import Contender, Turn, rounds, started

from blemish.data.listing import find_images
from blemish.images.read import read_image
from blemish.storage.files import write_atomically

HERE = Path(__file__).parent
PEERS = HERE.parent / "peers" / "speed.py"
METHODS = ("padim", "patchcore", "stfpm")
WAYS = ("torch", "openvino", "openvino-f32")
PACKAGES = ("numpy", "onnxruntime", "openvino", "pillow", "torch")
PEER_PACKAGES = ("anomalib", "numpy", "openvino", "pillow", "torch")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def arguments() -> argparse.Namespace:
    """Read and check the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a category in MVTec AD layout: test, train/good")
    parser.add_argument("--out", type=Path, required=True, help="folder for the images and the prepared peers")
    parser.add_argument("--rows", type=Path, help="a JSON line for each turn; default: OUT/turns.jsonl")
    for kind, what in (("eager", "MODEL"), ("detector", "MODEL"), ("bundle", "DIR")):
        parser.add_argument(f"--{kind}", action="append", default=[], metavar=f"NAME={what}")
    parser.add_argument("--peers", default="", help="such as padim,patchcore:torch: of all three, or one of its ways")
    parser.add_argument("--peer-python", type=Path, help="the Python of the peers' environment")
    parser.add_argument("--fit-images", type=int, help="good images to fit the peers on; default: all")
    parser.add_argument("--against", default="", help="names of baselines, such as all:eager,stfpm:best")
    parser.add_argument("--rounds", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=10, help="test images, evenly spread; default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="predict all of this folder in each turn, decoding included")
    parser.add_argument("--gflop-per-image", type=float, help="with --folder: 10^9 operations; 4.31 for 9 modules")
    parser.add_argument("--peak-gflops", type=float, help="with --folder: what the machine can do, 10^9 a second")
    given = parser.parse_args()
    if min(given.rounds, given.images, given.threads) < 1:
        parser.error("--rounds, --images and --threads must be at least 1")
    if (given.gflop_per_image is None) != (given.peak_gflops is None):
        parser.error("--gflop-per-image and --peak-gflops go together")
    given.peers = _peers(parser, given)
    if given.folder and (given.peers or given.eager):
        parser.error("--folder: detectors and bundles only")
    return given


def _peers(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[tuple[str, str]]:
    """Return (method, way) of each peer."""
    found = []
    for name in filter(None, given.peers.split(",")):
        method, _, way = name.partition(":")
        if method not in METHODS or (way and way not in WAYS):
            parser.error(f"--peers: {name!r} is none of {', '.join(METHODS)}, nor one with :{' or :'.join(WAYS)}")
        found += [(method, one) for one in ([way] if way else WAYS)]
    if found and given.peer_python is None:
        parser.error("--peers needs --peer-python, the Python of the environment of benchmarks/peers/requirements.txt")
    return found


def contenders(given: argparse.Namespace, images: Path) -> list[Contender]:
    """Return all that takes part; the peers are prepared first, where that was not done before."""
    threads = ["--images", str(images), "--threads", str(given.threads)]
    environment: dict[str, str | None] = dict.fromkeys(THREAD_VARIABLES, str(given.threads))
    found = []
    for kind in ("eager", "detector", "bundle"):
        for text in getattr(given, kind):
            name, equals, path = text.partition("=")
            if not equals or not Path(path).exists():
                raise SystemExit(f"--{kind}: {text!r} is not NAME=PATH, or there is no such path")
            command = [sys.executable, str(HERE / "contender.py"), kind, path, *threads]
            if given.folder:
                command += ["--streams", str(given.threads)]  # the most images a second, not the shortest wait
            found.append(Contender(name if ":" in name else f"{name}:{kind}", command, environment))
    for method, way in given.peers:
        environment = environment | {"PYTHONPATH": None}
        prepared = prepare(given, method, environment)
        command = [str(given.peer_python), str(PEERS), "serve", method, str(prepared), "--way", way, *threads]
        found.append(Contender(f"{method}:{way}", command, environment))
    return found


def prepare(given: argparse.Namespace, method: str, environment: dict[str, str | None]) -> Path:
    """Return the folder with a fitted and exported peer; makes it if it is not there."""
    images = given.fit_images if method != "stfpm" else None
    out = Path(given.out / f"{method}-{images or 'all'}").resolve()
    if not out.exists():
        print(f"preparing {method} ...", flush=True)
        command = [str(given.peer_python), str(PEERS), "prepare", method, str(out), "--data", str(given.data.resolve())]
        command += ["--threads", str(given.threads), *(["--fit-images", str(images)] if images else [])]
        kept = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        subprocess.run(command, check=True, env=kept, stdout=sys.stderr)
    return out


def choose(data: Path, count: int, out: Path) -> Path:
    """Write test images, evenly spread over the sorted files, to one NPZ file that all contenders read."""
    files = [path for path in find_images(data / "test") if path.is_file()]
    chosen = [files[index] for index in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)]
    path = out / "images.npz"
    np.savez(path, **{f"{index:04d}": read_image(file) for index, file in enumerate(chosen)})  # type: ignore[arg-type]
    return path


def machine(given: argparse.Namespace) -> dict[str, object]:
    """Return what the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    found = {"cpu": model, "cores": os.cpu_count(), "threads": given.threads, "fit_images": given.fit_images}
    found |= {"python": platform.python_version(), "versions": versions(PACKAGES)}
    if given.peers:
        code = f"import json\n{inspect.getsource(versions)}\nprint(json.dumps(versions({PEER_PACKAGES})))"
        command = [str(given.peer_python), "-c", code]
        found["peer_versions"] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    from importlib.metadata import distributions

    return {one.name: one.version for one in distributions() if one.name in packages}


def report(given: argparse.Namespace, turns: list[Turn], first_seconds: dict[str, float]) -> None:
    """Print the tables."""
    found = tables.by_name(turns, list(first_seconds))
    print()
    print("\n".join(tables.times(found, first_seconds)))
    if given.gflop_per_image is not None:
        print()
        print("\n".join(tables.shares(found, gflop=given.gflop_per_image, peak=given.peak_gflops)))
    asked = [(name, name.removesuffix("best")) for name in filter(None, given.against.split(","))]
    baselines = [tables.best_of(found, prefix) if name.endswith(":best") else name for name, prefix in asked]
    if baselines:
        print()
        print("\n".join(tables.ratios(found, baselines)))
    if notes := tables.same_scores(found):
        print()
        print("\n".join(notes))


def main() -> None:
    """Prepare, start, go through the rounds, report."""
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    images = choose(given.data, given.images, given.out)
    named = contenders(given, images)
    if len({one.name for one in named}) < len(named) or not named:
        raise SystemExit("no contenders, or two of one name: see --eager, --detector, --bundle and --peers")
    for name in filter(None, given.against.split(",")):
        if not any(one.name == name or (name.endswith(":best") and one.name.startswith(name[:-4])) for one in named):
            raise SystemExit(f"--against: {name!r} is not there; there are {', '.join(one.name for one in named)}")
    about = machine(given)
    print(json.dumps(about), flush=True)
    with started(named) as processes:
        turns = list(rounds(processes, given.rounds, folder=given.folder))
        first_seconds = {process.name: process.first_seconds for process in processes}
    records = [about | {"folder": given.folder and str(given.folder)} | asdict(turn) for turn in turns]
    text = "".join(json.dumps(record) + "\n" for record in records)
    write_atomically(given.rows or given.out / "turns.jsonl", text.encode())
    report(given, turns, first_seconds)


if __name__ == "__main__":
    main()
