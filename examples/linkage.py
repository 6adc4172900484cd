"""EM for a model of your own: two methods are enough.

197 animals fall into four cells with the probabilities 1/2 + t/4, (1 - t)/4, (1 - t)/4 and t/4. The first cell lumps
two together, of probability 1/2 and t/4. Were these two counted apart, t would be a plain proportion: `expect` fills in
what the t/4 part of the first cell should hold, `maximize` takes the proportion. Two methods more, the parameter as a
vector and back, and there are standard errors too.

Data and iterates: Dempster, Laird & Rubin (1977), Journal of the Royal Statistical Society B 39, 1-38, section 1.
"""

from dataclasses import dataclass

import numpy as np

import emix

COUNTS = [[125, 18, 20, 34]]


@dataclass(frozen=True)
class Linkage:
    theta: float

    def expect(self, chunk):
        t, counts = self.theta, chunk.weight @ chunk.x
        log_likelihood = counts @ np.log([1 / 2 + t / 4, (1 - t) / 4, (1 - t) / 4, t / 4])
        lumped, second, third, fourth = counts
        statistics = np.array([lumped * t / (2 + t) + fourth, second + third])  # animals for t and for 1 - t
        return emix.Expectation(statistics, log_likelihood, weight=chunk.weight.sum())

    def maximize(self, statistics):
        return Linkage(theta=statistics[0] / statistics.sum())

    def to_vector(self):  # a real number without bounds: for standard errors
        return np.array([np.log(self.theta / (1 - self.theta))])

    def from_vector(self, vector):
        return Linkage(theta=1 / (1 + np.exp(-vector[0])))


def main():
    def show(one):
        print(f"{one.record.iteration:9}  {one.model.theta:.9f}  {one.record.log_likelihood:.9f}")

    print("iteration  theta        log-likelihood")
    result = emix.fit(Linkage(theta=0.5), COUNTS, stop="parameters", tol=1e-10, accelerate=False, on_iteration=show)
    print(f"theta = {result.model.theta:.10f} after {result.n_iter} iterations; {result.stop_reason.sentence}")
    theta = emix.standard_errors(result, COUNTS).of("theta")
    print(f"standard error {theta.standard_error:.4f}, 95 % interval {theta.lower:.3f} to {theta.upper:.3f}")


if __name__ == "__main__":
    main()
