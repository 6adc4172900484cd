"""Groups of film lovers, from ratings of which most are missing.

A film site lets its users rate three aspects of a film, from 1 to 5; most rate one or two of them. Nothing is filled in
before the fit: a user's group is judged by what the user rated, and a missing rating says nothing.
"""

import numpy as np

import emix

ASPECTS = ("story", "acting", "music")


def ratings(n: int = 600, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Ratings 1 to 5, NaN where there is none, and the group that each user was drawn from."""
    rng = np.random.default_rng(seed)
    taste = np.array([[4.5, 3.5, 2.0], [2.5, 4.0, 4.5], [3.0, 2.0, 3.0]])
    group = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    full = np.clip(np.round(taste[group] + 0.8 * rng.normal(size=(n, 3))), 1, 5)
    is_rated = rng.random((n, 3)) < [0.8, 0.5, 0.4]
    return {name: np.where(is_rated[:, j], full[:, j], np.nan) for j, name in enumerate(ASPECTS)}, group


def main() -> None:
    """Print the groups, how sure they are, and what users who rated little would probably have said."""
    table, group = ratings()
    n_rated = sum((~np.isnan(column)).astype(int) for column in table.values())
    print(
        f"{len(group)} users rated {n_rated.mean():.1f} of 3 aspects on average; {np.sum(n_rated == 0)} rated nothing"
    )
    result = emix.fit(emix.Mixture(emix.Categorical(), 3, prior_rows=1.0), table, random_state=0)
    for k, share in enumerate(result.model.mixing_proportions):
        means = [p[k] @ np.arange(1, p.shape[1] + 1) for p in result.model.family.probabilities]
        said = ", ".join(f"{name} {mean:.1f}" for name, mean in zip(ASPECTS, means, strict=True))
        print(f"group {k}: {share:.0%} of users; mean rating of {said}")
    sure = emix.responsibilities(result.model, table).max(axis=1)
    for n in range(1, 4):
        print(f"users who rated {n}: their group is {sure[n_rated == n].mean():.0%} sure on average")
    print(result.stop_reason.sentence)
    for warning in result.warnings:
        print(warning)


if __name__ == "__main__":
    main()
