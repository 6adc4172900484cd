"""Classify documents by a few labels and many documents without: semi-supervised naive Bayes.

Counts of words are a multinomial draw given the class. EM lets the documents without a label say which words go
together (Nigam, McCallum, Thrun & Mitchell 2000, Machine Learning 39, 103-134). The corpus is drawn here: 20 classes
whose words overlap, as a sparse matrix that is never made dense. Where scikit-learn has the 20 newsgroups on disk
already, they are classified too.
"""

import numpy as np
import scipy.sparse

import emix

PER_CLASS = (1, 3, 10, 30)


def corpus(n=8_000, n_words=5_000, n_classes=20, seed=0):
    """Documents (n, n_words) and their classes."""
    rng = np.random.default_rng(seed)
    common = 1 / (np.arange(n_words) + 10.0)
    shares = common * rng.gamma(2.0, 0.5, (n_classes, n_words))
    shares /= shares.sum(axis=1, keepdims=True)
    classes = rng.integers(0, n_classes, n)
    lengths = rng.integers(30, 120, n)
    rows = [rng.choice(n_words, size, p=shares[k]) for size, k in zip(lengths, classes, strict=True)]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    counts = scipy.sparse.csr_array((np.ones(indptr[-1]), np.concatenate(rows), indptr), shape=(n, n_words))
    counts.sum_duplicates()
    return counts, classes


def newsgroups():
    """The 20 newsgroups of scikit-learn if they are on disk, else None: nothing is downloaded."""
    from sklearn.datasets import fetch_20newsgroups_vectorized

    try:
        found = fetch_20newsgroups_vectorized(subset="all", normalize=False, download_if_missing=False)
    except OSError:
        return None
    counts = scipy.sparse.csr_array(found.data)
    return counts[:, np.asarray(counts.sum(axis=0)) >= 5], found.target


def smoothed(counts, labels, K):
    """Naive Bayes of the labelled documents alone, one pseudo-count per word and class: where EM starts."""
    members = scipy.sparse.csr_array(np.eye(K)[labels[labels >= 0]].T)
    of_class = (members @ counts[labels >= 0]).toarray() + 1.0
    return emix.Mixture(emix.Multinomial(of_class / of_class.sum(axis=1, keepdims=True)))


def classify(title, counts, classes):
    """Print the accuracy on documents without a label, before and after they had their say."""
    K, rng = int(classes.max()) + 1, np.random.default_rng(1)
    order = rng.permutation(len(classes))
    print(f"{title}: {counts.shape[0]:,} documents, {counts.shape[1]:,} words, {counts.nnz:,} counts")
    for n_labels in PER_CLASS:
        labels = np.full(len(classes), -1)
        for k in range(K):
            labels[order[classes[order] == k][:n_labels]] = k
        unseen = labels < 0
        alone = smoothed(counts, labels, K)
        result = emix.fit(alone, counts, labels=labels, max_iter=300, n_jobs=-1)
        before, after = (
            (emix.predict(model, counts)[unseen] == classes[unseen]).mean() for model in (alone, result.model)
        )
        print(
            f"  {n_labels:3d} labels per class: {before:.1%} of the others right from labels alone, "
            f"{after:.1%} with all documents ({result.n_iter} iterations)"
        )


def main() -> None:
    classify("drawn", *corpus())
    found = newsgroups()
    if found is not None:
        classify("20 newsgroups", *found)


if __name__ == "__main__":
    main()
