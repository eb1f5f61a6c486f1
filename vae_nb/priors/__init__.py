"Priors that learn with the model or after it, and posteriors that are no Gaussians."

from .fitted import FullMixture, fit_density, full_mixture, with_prior
from .flows import FlowPosterior, FlowPrior, flow_posterior, flow_prior
from .learned import (
    LearnedPrior,
    Mixture,
    MixturePrior,
    VampPrior,
    mixture_prior,
    vamp_prior,
)

__all__ = [
    # learned with the model: for `prior=` and `posterior=`
    "mixture_prior",
    "vamp_prior",
    "flow_prior",
    "flow_posterior",
    # fitted to the codes of a trained model
    "fit_density",
    "with_prior",
]
