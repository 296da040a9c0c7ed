"""What half the time for one image buys: models and maps of `blemish benchmark`, every seed, five draws.

Prints Markdown: for each draw the AUPRO on the images that weighed nothing of all modules without labels, all with
labels, the best 4, and those that a budget of half the time keeps; with the modules and their share of the time.

    blemish benchmark DATA --out OUT --experiments sizes,keep --objectives logistic --seeds 0,1,2
    python benchmarks/magnetic_tile/budget.py --data DATA --out OUT
"""

import argparse
from pathlib import Path

import numpy as np

from blemish import Detector
from blemish.experiments.grid.contents import draw_validation, left_to_test
from blemish.experiments.grid.rows import read_rows
from blemish.experiments.runs.measure import figures, prepare
from blemish.experiments.runs.run import read_all
from blemish.experiments.store.store import read_maps
from blemish.method.scoring import label_free_weights
from blemish.weighing.costs import measure
from blemish.weighing.findings import search_some
from blemish.weighing.front import front
from blemish.weighing.labelled import LabelledMaps
from blemish.weighing.search import keep_best, search

OBJECTIVE = "logistic"


def main() -> None:
    """Read the arguments, go through seeds and draws, print the table and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    (contents,) = read_all([options.data], only=())
    bench = prepare(contents)
    stores = {row.seed: options.out / str(row.store) for row in read_rows(options.out / "rows.jsonl")}
    print("| seed | draw | without labels | with labels | best 4 | time | half the time | time | modules |")
    print("|---|---|---|---|---|---|---|---|---|")
    gains = []
    for seed, store in sorted(stores.items()):
        detector = Detector.load(next(store.parent.glob("levels-*.safetensors")))
        costs = measure(detector.model_, repeats=50)
        names = [module.name for module in detector.modules_]
        whole_time = costs.of(names)
        prior = label_free_weights(detector.modules_, score="whitened")
        maps = {name: read_maps(store, "whitened", name) for name in names}
        for draw in range(options.draws):
            drawn = draw_validation(contents, coverage=1.0, draw=draw)
            tested = left_to_test(contents, drawn)
            labels = [contents.samples[index].label for index in drawn]
            labelled = LabelledMaps(names, [maps[name][drawn].numpy() for name in names], bench.masks[drawn], labels)
            whole = search(labelled, objective=OBJECTIVE, prior=prior)
            four = keep_best(labelled, 4, objective=OBJECTIVE, prior=prior)
            sets = front(labelled, whole.weights, costs)
            half = [some for some in sets if costs.of([names[index] for index in some]) <= whole_time / 2][-1]

            weighed = [dict(zip(names, weights, strict=True)) for weights in (prior, whole.weights.tolist())]
            times = []
            for some in (four, half):
                weights = search_some(labelled, some, objective=OBJECTIVE, prior=prior).weights.tolist()
                weighed.append(dict(zip([names[index] for index in some], weights, strict=True)))
                times.append(costs.of([names[index] for index in some]) / whole_time)
            found = [figures(maps, weights, bench, tested)["aupro"] for weights in weighed]
            gains.append([*found, *times])
            kept = " ".join(names[index] for index in half)
            print(f"| {seed} | {draw} | {found[0]:.4f} | {found[1]:.4f} | {found[2]:.4f} | {times[0]:.2f} "
                  f"| {found[3]:.4f} | {times[1]:.2f} | {kept} |", flush=True)  # fmt: skip
    table = np.array(gains)
    for name, column in (("with labels", 1), ("best 4", 2), ("half the time", 3)):
        for against, other in (("without labels", 0), ("with labels", 1)):
            gap = table[:, column] - table[:, other]
            print(f"{name} against {against}: {gap.mean():+.4f} ({gap.min():+.4f})")
    print(f"share of the time: best 4 {table[:, 4].mean():.2f}, half {table[:, 5].mean():.2f}")


if __name__ == "__main__":
    main()
