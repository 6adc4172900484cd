"""True answers from workers who err, after Dawid and Skene (1979), with gold labels for a few items.

Each item is answered by a few of many workers, so that most cells of the table items x workers are missing. The
component is the item's true class; each worker has probabilities of answers for each class. Items whose class is known
(gold) are given as labels; the others are None.

Source: Dawid & Skene (1979), Applied Statistics 28, 20-28.
"""

import numpy as np

import emix

CLASSES = 3


def answers(n_items: int = 600, n_workers: int = 25, per_item: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers (n_items, n_workers), NaN where a worker did not see an item, and the true classes."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(CLASSES, n_items, p=[0.5, 0.3, 0.2])
    skill = np.where(np.arange(n_workers) % 3, 0.45, 0.95)  # a third of them know, the others hardly do
    table = np.full((n_items, n_workers), np.nan)
    for i in range(n_items):
        for worker in rng.choice(n_workers, per_item, replace=False):
            is_right = rng.random() < skill[worker]
            table[i, worker] = truth[i] if is_right else (truth[i] + rng.integers(1, CLASSES)) % CLASSES
    return table, truth


def majority(table: np.ndarray) -> np.ndarray:
    """The answer that most workers gave."""
    return np.stack([(table == k).sum(axis=1) for k in range(CLASSES)], axis=1).argmax(axis=1)


def main() -> None:
    """Print how often the majority and the model are right, and the worst worker."""
    table, truth = answers()
    gold = [int(truth[i]) if i % 10 == 0 else None for i in range(len(truth))]
    first = emix.Mixture(emix.Categorical(), CLASSES, prior_rows=1.0)
    result = emix.fit(first, table, labels=gold, start=np.where(np.arange(len(truth)) % 10, majority(table), truth))
    found = emix.predict(result.model, table, labels=gold)
    unknown = np.array([label is None for label in gold])
    print(f"{np.isnan(table).mean():.0%} of the cells are missing; {np.sum(~unknown)} items have gold labels")
    print(f"right by majority: {(majority(table) == truth)[unknown].mean():.1%} of the others")
    print(f"right by the model: {(found == truth)[unknown].mean():.1%}; {result.stop_reason.sentence}")
    right = [np.diagonal(p) @ result.model.mixing_proportions for p in result.model.family.probabilities]
    worst = int(np.argmin(right))
    print(f"worker {worst} is right with probability {right[worst]:.2f}; answers by true class:")
    print(np.round(result.model.family.probabilities[worst], 2))


if __name__ == "__main__":
    main()
