"""Latent class analysis: what five anaesthetists agree on about 45 patients, and how each of them errs.

Before an operation each patient was put into one of four classes of fitness by five observers; the first of them saw
each patient's record three times (Dawid & Skene 1979, Applied Statistics 28, 20-28, table 1). Nobody knows the true
classes. A latent class model finds them from the answers alone, if observers err independently.
"""

import json
from pathlib import Path

import emix

READINGS = json.loads((Path(__file__).parents[1] / "tests" / "reference" / "dawid_skene.json").read_text())


def answers() -> dict[str, list[int]]:
    """One item per reading: 1a, 1b and 1c are those of the first observer."""
    items: dict[str, list[int]] = {}
    for observers in READINGS.values():
        for observer, given in observers.items():
            for occasion, answer in zip("abc", given):  # noqa: B905 - the others looked once
                items.setdefault(f"{observer}{occasion}" if len(given) > 1 else observer, []).append(answer)
    return items


def main() -> None:
    """Choose the number of classes, describe them, and list where observers waver most."""
    items = answers()
    models = {K: emix.LatentClassAnalysis(K, n_init=20, random_state=0).fit(items) for K in (1, 2, 3, 4)}
    for K, model in models.items():
        ending = "converged" if model.converged_ else "not converged"
        print(f"{K} classes: log-likelihood {model.log_likelihood_:9.3f}, BIC {model.bic_:7.2f}, {ending}")
    best = min(models.values(), key=lambda model: model.bic_)
    print()
    best.summary()

    # one number per row: to filter, join, pivot and plot in pandas, polars or pyarrow
    frame = emix.to_frame(best.result_, backend="pyarrow")
    print(f"\n{frame.num_rows} parameters; the most frequent answers beside an observer's usual one:")
    usual = {
        (item, k): str(best.item_levels_[item][p.argmax()])
        for item, table in best.item_response_probabilities_.items()
        for k, p in enumerate(table)
    }
    lines = [(line, usual.get((line["column"], line["component"]))) for line in frame.to_pylist()]
    others = [(line, mostly) for line, mostly in lines if mostly not in (None, line["level"])]
    for line, mostly in sorted(others, key=lambda other: -other[0]["value"])[:4]:
        who, k = line["column"], line["component"]
        print(f"  class {k}: observer {who} mostly says {mostly}, but {line['level']} of {line['value']:.0%}")


if __name__ == "__main__":
    main()
