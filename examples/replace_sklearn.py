"""Replace scikit-learn's Gaussian mixture: change the import, keep the rest.

    -from sklearn.mixture import GaussianMixture
    +from emix import GaussianMixture

Fits both classes to the Old Faithful geyser (272 eruptions) and to 100,000 drawn rows, and prints what they find and
how long they take. The kernels are compiled at their first use: a first fit of one iteration is not timed.
"""

import time
import warnings
from pathlib import Path

import numpy as np
import sklearn.mixture
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning

import emix

geyser = np.loadtxt(Path(__file__).parent / "old_faithful.csv", delimiter=",", skiprows=1)
drawn, _ = make_blobs(100_000, n_features=8, centers=8, cluster_std=3.0, random_state=0)


def compare(title, X, n_components):
    print(f"{title}: {len(X):,} rows, {X.shape[1]} columns, {n_components} components")
    for module in (sklearn.mixture, emix):
        GaussianMixture = module.GaussianMixture
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            GaussianMixture(n_components, max_iter=1, random_state=0).fit(X)
        began = time.perf_counter()
        model = GaussianMixture(n_components, random_state=0).fit(X)
        seconds = time.perf_counter() - began
        means = model.means_[model.means_[:, 0].argsort()]
        print(f"  {module.__name__:16} {seconds:7.3f} s, {model.n_iter_} iterations")
        print(f"    log-likelihood {model.score(X) * len(X):.6f}")
        print(f"    means of the first column {np.array2string(means[:, 0], precision=6)}")


if __name__ == "__main__":
    compare("Old Faithful", geyser, 2)
    compare("Drawn", drawn, 8)
