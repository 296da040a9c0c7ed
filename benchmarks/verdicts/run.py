"""How well thresholds from few good images hold: held-out and test images are pooled and dealt anew, many times.

Each deal takes as many of the pooled good images as the model holds out, at random (whole groups, where the model has
them), sets the thresholds by them, and counts what becomes of the other good images and of the defects. "Found" and
"false alarm" mean: not OK. Printed are means over the deals:

    promise   what the threshold promises of good images (for the other rules: nothing)
    real      false alarms among the good images that were not dealt, with its standard error
    found     share of the defects found
    of best   the same against the threshold that lets the promised share of all the pooled good images through

Rules: the model's own; "highest", what anomalib's adaptive threshold becomes on good images alone; "mean + 3 sigma", of
the scores before they are squashed. With a stranger, one of the dealt images scores as the worst defect does.

    python benchmarks/verdicts/run.py MODEL DATA --rates 5%,10%
"""

import argparse
from pathlib import Path

import numpy as np

from blemish import Detector
from blemish.data.datasets import test_samples
from blemish.errors import InputError
from blemish.verdict.threshold import DEFAULT, percent, promised, read_budget, thresholds

DEALS = 20


def scores_of(detector: Detector, data: Path) -> tuple[list[tuple[str, float]], list[tuple[str, float]], list[float]]:
    """Return the scores of the held-out images and of the good test images, with their groups, and of the defects."""
    held = [(one.group or one.sha256, one.score) for one in detector.header_.calibration.held_out]
    samples = test_samples(data)
    found = [reference.score() for _, _, reference in detector.references([one.path for one in samples])]
    scored = list(zip(samples, found, strict=True))
    good = [(str(one.path), score) for one, score in scored if one.label == "good"]
    return held, good, [score for one, score in scored if one.label != "good"]


def by_model(scores: list[float], rate: float) -> float:
    """Return the first threshold of a budget, by the default's rule where the scores do not carry the rate."""
    try:
        return thresholds(scores, None if rate == DEFAULT.review else read_budget(rate)).review
    except InputError:
        return thresholds(scores).review


def by_sigma(scores: list[float], scale) -> float:
    """Return the mean and three deviations of the scores before they are squashed, squashed again."""
    values = scale.symmetric(np.asarray(scores))
    limit = np.float32([values.mean() + 3 * values.std(ddof=1)])
    return float(np.exp(limit[0])) if scale.score == "paper" else float(scale.of(limit)[0])


def deal(pool: list[tuple[str, float]], count: int, random: np.random.Generator) -> tuple[list[float], list[float]]:
    """Return the highest score of each of `count` groups that are dealt, and all scores of the others."""
    groups: dict[str, list[float]] = {}
    for group, score in pool:
        groups.setdefault(group, []).append(score)
    order = [list(groups.values())[index] for index in random.permutation(len(groups))]
    return [max(scores) for scores in order[:count]], [score for scores in order[count:] for score in scores]


def measure(held, good, bad, scale, *, rule: str, rate: float, stranger: bool) -> dict[str, float]:
    """Return the means over the deals."""
    pool, count = [*held, *good], len({group for group, _ in held})
    random, rows = np.random.default_rng(0), []
    for _ in range(DEALS):
        dealt, rest = deal(pool, count, random)
        dealt = [max(bad), *dealt[1:]] if stranger else dealt
        choose = {
            "blemish": lambda dealt=dealt: by_model(dealt, rate),
            "highest": lambda dealt=dealt: max(dealt),
            "mean + 3 sigma": lambda dealt=dealt: by_sigma(dealt, scale),
        }
        limit = choose[rule]()
        rows.append((promised(dealt, limit), np.mean(np.array(rest) > limit), np.mean(np.array(bad) > limit)))
    promise, real, found = np.array(rows).T
    ranked = sorted((score for _, score in pool), reverse=True)
    best = float(np.mean(np.array(bad) > ranked[int(promise.mean() * len(ranked) + 1e-9)]))
    return {
        "promise": promise.mean(), "real": real.mean(), "error": real.std(ddof=1) / DEALS**0.5,
        "found": found.mean(), "best": found.mean() / best if best else float("nan"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rates", default="5%,10%")
    options = parser.parse_args()
    detector = Detector.load(options.model)
    held, good, bad = scores_of(detector, options.data)
    print(f"{options.data.name}: {len(held)} held out, {len(good)} good and {len(bad)} defective test images")
    print("| rule | rate | stranger | promise | real | found | of best |")
    print("|---|---|---|---|---|---|---|")
    for text in options.rates.split(","):
        rate = read_budget(text).review
        for rule in ("blemish", "highest", "mean + 3 sigma"):
            for stranger in (False, True):
                row = measure(held, good, bad, detector.header_.scale, rule=rule, rate=rate, stranger=stranger)
                promise = percent(row["promise"]) if rule == "blemish" else "-"
                print(
                    f"| {rule} | {text} | {'one' if stranger else 'none'} | {promise} | "
                    f"{row['real']:.1%} ± {row['error']:.1%} | {row['found']:.1%} | {row['best']:.2f} |"
                )


if __name__ == "__main__":
    main()
