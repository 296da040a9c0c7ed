"""Fit and evaluate every set below DATA and the demo's textures, with any options of `blemish fit`; print tables.

    python benchmarks/sets/run.py --data DATA --out OUT                               # for development: seed 0
    python benchmarks/sets/run.py --data DATA --out OUT --seeds 0,1,2 --keep NAME     # for what is published
    python benchmarks/sets/run.py --data DATA --out OUT --sets brick -- --sizes 128 --recipe quick

DATA has a folder in MVTec AD layout for each set; brick, grass and gravel are made in OUT/textures. Nothing is computed
twice. Models lie in OUT/HASH, which stands for the options, the threads (OMP_NUM_THREADS), torch, and the code that a
fit runs, committed or not. Files that options name are not looked into: change their names with them. An evaluation is
made anew if its own code, the model or the set changes. What `--keep` keeps is in OUT/kept.json. Peers are read from
OUT/peers/SET, where benchmarks/peers/run.py writes them (the command is printed); they are compared at 256 only.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import blemish
from blemish.demo.textures import CATEGORIES, make_textures
from blemish.evaluation.recall import Outcome, recall

HERE, PACKAGE = Path(__file__).resolve().parent, Path(blemish.__file__).parent
VERDICTS, PEERS = HERE.parent / "verdicts" / "run.py", HERE.parent / "peers"
# What decides a fit, and what decides an evaluation besides: imports run down (docs/design.md), so nothing else does.
FIT = ["checks.py", "cli/allocator.py", "cli/commands/fit.py", "cli/options.py", "data", "images", "method", "model"]
FIT += ["storage", "verdict"]
JUDGE = [*FIT, "cli/commands/evaluate.py", "detector.py", "evaluation"]
METRICS = {"pixel AUROC": "pixel_auroc", "AUPRO": "aupro", "image AUROC": "image_auroc"}
FOUND = {"found": "found"}
COSTS = {"fit s": "fit_seconds", "CPU s": "cpu_seconds", "peak MB": "peak_mb", "model MB": "model_mb"}
OVERALL = METRICS | FOUND | {"false alarms": "false_alarms"} | COSTS
FORMS = dict.fromkeys(METRICS.values(), ".4f") | {"found": ".4g", "false_alarms": ".4g", "model_mb": ".2f"}
OF = {"found": "defects", "false_alarms": "good"}
QUIET = 0.003  # a smaller difference between single runs means nothing (docs/log.md)
LEGEND = f"""In brackets: for blemish, the difference to the run kept last, over the seeds that both have; for a peer,
blemish less the peer. ~ means nothing: below {QUIET} and from one seed. A peer's defects found are those above the
threshold that, chosen on the test images in its favour, gives it no more false alarms than blemish has.
"""

Row = dict[str, float | None]
Rows = dict[str, Row]  # of one seed: "all", "type NAME", "area LEAST"
Seeds = dict[str, Rows]  # by seed, as text: JSON has no other keys


def short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def code(rooms: Iterable[str]) -> str:
    """Return a hash of the code in those rooms, as it is imported here."""
    places = [PACKAGE / room for room in rooms]
    files = [path for place in places for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return short([(path.relative_to(PACKAGE).as_posix(), path.read_text()) for path in files])


def contents(folder: Path) -> str:
    """Return a hash of the names and sizes of a set's files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return short([(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files])


def read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def write(path: Path, value: Any) -> None:
    """Write a text, or JSON, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(value if isinstance(value, str) else json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def run(*command: str) -> tuple[float, Any]:
    """Run Python to its end; return the seconds on the wall and what the system says that it has used."""
    print("$ python", *command, file=sys.stderr, flush=True)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: python {' '.join(command)}")
    return time.monotonic() - started, used


def fitted(model: Path, data: Path, *, seed: str, options: list[str]) -> dict[str, Any]:
    """Return what the fit of a model has cost; fit it unless it is there."""
    note, now = model.with_suffix(".fit.json"), contents(data)
    known = read(note)
    if known and known["contents"] == now and model.exists():
        return known
    continued = model.with_name(f"{model.name}.partial").exists()  # then its seconds are not those of a fit
    seconds, used = run("-m", "blemish", "fit", str(data), "--out", str(model), "--seed", seed, "--overwrite", *options)
    known = {
        "contents": now,
        "fit_seconds": None if continued else round(seconds, 1),
        "cpu_seconds": None if continued else round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss * 1024 / 1e6),
        "model_mb": model.stat().st_size / 1e6,
    }
    write(note, known)
    return known


def evaluated(model: Path, data: Path, fit: dict[str, Any], *, resolution: str) -> Rows:
    """Return all figures of a model; evaluate it unless that was done."""
    path = model.with_suffix(f".{short([code(JUDGE), resolution, fit])}.json")
    if not path.exists():
        given = ["--json", str(path), "--resolution", resolution, "--no-record"]
        run("-m", "blemish", "evaluate", str(model), str(data), *given)
    rows = rows_of(read(path))
    rows["all"] |= {key: fit[key] for key in COSTS.values()}
    return rows


def verdicts(model: Path, data: Path, fit: dict[str, Any]) -> str:
    """Return what benchmarks/verdicts says of a model; run it unless that was done."""
    path = model.with_suffix(f".{short([code(JUDGE), VERDICTS.read_text(), fit])}.md")
    if not path.exists():
        command = [sys.executable, str(VERDICTS), str(model), str(data)]
        write(path, subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return path.read_text()


def rows_of(result: dict[str, Any]) -> Rows:
    """Return what the tables need of an evaluation."""
    figures = {"all": result["overall"]} | {f"type {label}": one for label, one in result["types"].items()}
    kept = [*METRICS.values(), *OF, "good"]
    rows = {
        name: {key: one[key] for key in kept} | {"defects": one["images"] - one["good"]}
        for name, one in figures.items()
    }
    by_area = result["recall_by_area"]
    for edge, part in zip(by_area["edges"], by_area["overall"]["bins"], strict=True):
        rows[f"area {edge}"] = {"found": part["found"], "defects": part["images"]}
    return rows


def peer(path: Path, data: Path, *, false_alarms: int) -> Rows:
    """Return the figures of a peer and a seed; found is what scores higher than all good images but so many."""
    sys.path.append(str(PEERS))
    from score import score

    made = path.with_suffix(".npy").stat().st_mtime_ns
    name = short([code(JUDGE), (PEERS / "score.py").read_text(), contents(data), made])
    cache = path.parent / "scored" / f"{path.stem}.{name}.json"
    if not cache.exists():
        write(cache, score(path, data))
    result, record = read(cache), read(path)
    good = sorted((one["score"] for one in result["images"] if one["label"] == "good"), reverse=True)
    limit = good[false_alarms] if false_alarms < len(good) else float("-inf")
    outcomes = [Outcome(**one, verdict="NG" if one["score"] > limit else "OK") for one in result["images"]]
    for label, one in [(None, result["overall"]), *result["types"].items()]:
        defects = [outcome for outcome in outcomes if outcome.label != "good" and label in (None, outcome.label)]
        alarms = sum(outcome.found for outcome in outcomes if outcome.label == "good")
        one |= {"images": len(defects) + len(good), "good": len(good), "false_alarms": alarms}
        one["found"] = sum(outcome.found for outcome in defects)
    rows = rows_of(result | recall(outcomes))
    rows["all"] |= {"fit_seconds": record["fit_seconds"], "peak_mb": record["peak_rss_mb"]}
    return rows


def peers_of(folder: Path, data: Path, ours: Seeds) -> dict[str, Seeds]:
    """Return the peers of a set; say how those that are missing are made."""
    alarms, found = round(mean(values(ours, "all", "false_alarms"))), {}
    for path in sorted(folder.glob("*-seed*.json")):
        method, seed = path.stem.split("-seed")
        found.setdefault(method, {})[seed] = peer(path, data, false_alarms=alarms)
    if missing := ",".join(name for name in ("padim", "patchcore") if name not in found):
        print(f"{data.name}: no {missing}; in the environment of the peers (their README.md):")
        print(f"    python {PEERS / 'run.py'} --data {data} --out {folder} --methods {missing} --seeds 0 --threads 1\n")
    return found


def commit() -> str:
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip() or "unknown"


def values(seeds: Seeds, name: str, key: str) -> list[float]:
    found = [rows.get(name, {}).get(key) for rows in seeds.values()]
    return [value for value in found if value is not None]


def cell(shown: Seeds, name: str, key: str, *, less: tuple[Seeds, Seeds]) -> str:
    """Return a figure's mean over the seeds and its deviation, in brackets the first of a pair less the second."""
    found, form = values(shown, name, key), FORMS.get(key, ".0f")
    if not found:
        return "-"
    text = f"{mean(found):{form}}" + (f" ± {stdev(found):{form}}" if len(found) > 1 else "")
    text += f" of {values(shown, name, OF[key])[0]:.0f}" if key in OF else ""
    one, other = (values(seeds, name, key) for seeds in less)
    if not one or not other:
        return text
    difference = mean(one) - mean(other)
    nothing = key in METRICS.values() and min(len(one), len(other)) == 1 and abs(difference) < QUIET
    return f"{text} ({difference:+{form}}{' ~' if nothing else ''})"


def methods(ours: Seeds, kept: Seeds, peers: dict[str, Seeds]) -> dict[str, tuple[Seeds, tuple[Seeds, Seeds]]]:
    """Return what is shown of each method, and the pair whose difference stands in brackets."""
    both = ours.keys() & kept.keys() or ours.keys() | kept.keys()
    now, before = ({seed: rows for seed, rows in one.items() if seed in both} for one in (ours, kept))
    return {"blemish": (ours, (now, before))} | {name: (one, (ours, one)) for name, one in peers.items()}


def tables(sets: Mapping[str, dict[str, tuple[Seeds, tuple[Seeds, Seeds]]]]) -> str:
    """Return Markdown: a table of the sets, one of the types of defect, and one of their areas."""
    lines = []
    for kind, heading, columns in (
        ("all", "", OVERALL),
        ("type ", "type", METRICS | FOUND),
        ("area ", "from px", FOUND),
    ):
        named = [heading] if heading else []
        titles = ["set", *named, "method", *columns]
        lines += [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
        for name, compared in sets.items():
            rows = dict.fromkeys(row for one in compared["blemish"][0].values() for row in one if row.startswith(kind))
            for row in rows:
                for method, (shown, less) in compared.items():
                    cells = [cell(shown, row, key, less=less) for key in columns.values()]
                    lines.append(f"| {' | '.join([name, *([row[5:]] if named else []), method, *cells])} |")
        lines.append("")
    return "\n".join(lines)


def places(data: Path, out: Path, chosen: str) -> dict[str, Path]:
    """Return the folders of the sets that were asked for; make the textures if they are among them."""
    found = {path.parent.parent.name: path.parent.parent for path in sorted(data.glob("*/train/good"))}
    textures = {name: out / "textures" / name for name in CATEGORIES}
    known = found | {name: path for name, path in textures.items() if name not in found}
    wanted = chosen.split(",") if chosen else list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"--sets: {unknown[0]!r} is none of {', '.join(known)}")
    if any(known[name] in textures.values() for name in wanted):
        make_textures(out / "textures")
    return {name: known[name] for name in wanted}


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with a folder for each set")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default="", help="default: all of DATA, and the textures")
    parser.add_argument("--seeds", default="0", help="default: %(default)s")
    parser.add_argument("--resolution", choices=("256", "original"), default="256", help="default: %(default)s")
    parser.add_argument("--keep", default="", metavar="NAME", help="later runs are compared with this one")
    parser.add_argument("--verdicts", action="store_true", help="run benchmarks/verdicts on each model, too")
    end = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:end])
    options.fit = given[end + 1 :]
    if taken := {one.partition("=")[0] for one in options.fit} & {"--out", "--seed", "--overwrite"}:
        parser.error(f"{taken.pop()} of blemish fit is chosen here; give --seeds")
    return options


def main(given: list[str] | None = None) -> None:
    """Go through sets and seeds; print the tables; keep the run if that is asked for."""
    options = arguments(sys.argv[1:] if given is None else given)
    settings = {"options": options.fit, "threads": os.environ.get("OMP_NUM_THREADS"), "torch": version("torch")}
    folder = options.out / short([settings, code(FIT)])
    about = settings | {"resolution": options.resolution, "commit": commit()}
    if not (folder / "settings.json").exists():
        write(folder / "settings.json", about)
    runs = [one for one in read(options.out / "kept.json") or [] if one["name"] != options.keep]
    sets, now, said, against = {}, {}, [], {}
    for name, data in places(options.data, options.out, options.sets).items():
        now[name] = {}
        for seed in options.seeds.split(","):
            model = folder / f"{name}-seed{seed}.safetensors"
            fit = fitted(model, data, seed=seed, options=options.fit)
            now[name][seed] = evaluated(model, data, fit, resolution=options.resolution)
            said += [f"seed {seed}, {verdicts(model, data, fit)}"] if options.verdicts else []
        past = [one for one in runs if one["resolution"] == options.resolution and name in one["sets"]]
        against |= {past[-1]["name"]: past[-1]["commit"]} if past else {}
        peers = peers_of(options.out / "peers" / name, data, now[name]) if options.resolution == "256" else {}
        sets[name] = methods(now[name], past[-1]["sets"][name] if past else {}, peers)
    compared = ", ".join(f"{name} ({made})" for name, made in against.items()) or "none"
    print(f"{json.dumps(about)}\nseeds {options.seeds}; kept last: {compared}\n\n{LEGEND}")
    print("\n".join([tables(sets), *said]))
    if options.keep:
        write(options.out / "kept.json", [*runs, {"name": options.keep, **about, "sets": now}])


if __name__ == "__main__":
    main()
