"""p(z): independent draws of the component. Markov chains and covariate gates join here."""

from emix.latent.independent import IndependentDraws

__all__ = ["IndependentDraws"]
