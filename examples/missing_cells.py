"""Fit a Gaussian mixture to a table with holes, exactly, and fill the holes.

A fifth of the cells of Old Faithful's 272 eruptions are taken away at random. Rows with a hole still say what their
other cell says; nothing is imputed before the fit.
"""

from pathlib import Path

import numpy as np

import emix

complete = np.loadtxt(Path(__file__).parent / "old_faithful.csv", delimiter=",", skiprows=1)
holed = np.where(np.random.default_rng(0).random(complete.shape) < 0.2, np.nan, complete)


def main() -> None:
    """Print what is found with and without the holes, and how well the holes are filled."""
    for title, rows in (("complete", complete), ("a fifth missing", holed)):
        result = emix.fit(emix.Mixture(emix.MultivariateNormal(structure="VVV"), 2), rows, random_state=0)
        order = np.argsort(result.model.family.mean[:, 0])
        print(f"{title}: log-likelihood {result.log_likelihood:.4f}, {result.stop_reason.sentence}")
        print(f"  means {result.model.family.mean[order].round(3).tolist()}")
        for warning in result.warnings:
            print(f"  {warning}")

    model = result.model  # of the rows with holes
    is_hole = np.isnan(holed)
    filled = emix.impute(model, holed)
    spread = complete.std(axis=0)
    for name, guess in (("column means", np.nanmean(holed, axis=0) + 0 * complete), ("conditional means", filled)):
        off = ((guess - complete) / spread)[is_hole]
        print(f"holes filled with {name}: off by {np.sqrt((off**2).mean()):.3f} standard deviations of the column")
    draws = emix.impute(model, holed, draws=20, random_state=0)  # for an analysis that must know the uncertainty
    print(f"20 completed tables: the mean waiting time varies by {draws[:, :, 1].mean(axis=1).std():.3f} minutes")

    waiting = emix.condition(model, {0: 2.0})  # the second column, given an eruption of two minutes
    print(f"after two minutes: {(waiting.mixing_proportions @ waiting.family.mean).item():.2f} minutes to wait")


if __name__ == "__main__":
    main()
