// Armadillo's full-covariance mixture from a given start: prints the seconds of learn() and the log-likelihood.
#include <armadillo>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

static std::vector<double> read(const std::string& path, size_t n) {
    std::vector<double> values(n);
    FILE* file = fopen(path.c_str(), "rb");
    if (!file || fread(values.data(), sizeof(double), n, file) != n) exit(1);
    fclose(file);
    return values;
}

int main(int argc, char** argv) {
    if (argc != 6) return 1;
    const std::string folder = argv[1];
    const size_t n = std::stoul(argv[2]), d = std::stoul(argv[3]), K = std::stoul(argv[4]), iterations = std::stoul(argv[5]);
    std::vector<double> x = read(folder + "/x", n * d), m = read(folder + "/means", K * d), c = read(folder + "/covariance", d * d);
    const arma::mat data(x.data(), d, n, false), means(m.data(), d, K, false), covariance(c.data(), d, d, false);
    arma::cube covariances(d, d, K);
    for (size_t k = 0; k < K; ++k) covariances.slice(k) = covariance;
    arma::gmm_full model;
    model.set_params(means, covariances, arma::rowvec(K, arma::fill::value(1.0 / K)));
    const auto began = std::chrono::steady_clock::now();
    model.learn(data, K, arma::maha_dist, arma::keep_existing, 0, iterations, 1e-300, false);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::cout.precision(12);
    std::cout << took.count() << " " << model.sum_log_p(data) << std::endl;
}
