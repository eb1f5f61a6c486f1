"Conditional VAEs, which are told labels, and an objective that learns from a few of them."

from .conditional import (
    Conditioned,
    ConditionalVAE,
    GivenVAE,
    Told,
    conditional_vae,
)
from .few import observed_terms, semi_supervised, summed_terms

__all__ = [
    # told all labels
    "conditional_vae",
    # told a few
    "semi_supervised",
]
