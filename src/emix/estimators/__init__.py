"""The scikit-learn face: thin estimators over `emix.fit`. The only importers of scikit-learn."""

from emix.estimators.gaussian_mixture import GaussianMixture
from emix.estimators.latent_class_analysis import LatentClassAnalysis
from emix.estimators.mixture_model import MixtureModel

__all__ = ["GaussianMixture", "LatentClassAnalysis", "MixtureModel"]
