"Latents that are part choice, part measure: Gumbel-softmax, joint VAEs, and objectives that keep the choice alive."

from vae_nb.core import moved

from .latents import category_of, join, one_hot
from .model import (
    EnumeratedLikelihood,
    JointVAE,
    OneHot,
    Product,
    gumbel_noise,
    gumbel_softmax,
    joint_vae,
    to_one_hot,
)
from .objective import Capacity, balance_term, consistency_term, joint_loss

__all__ = [
    # build and train
    "joint_vae",
    "JointVAE",
    "joint_loss",
    "Capacity",
    # latents and their parts
    "join",
    "one_hot",
    "category_of",
    # distributions
    "gumbel_softmax",
]

__getattr__ = moved(
    __name__,
    jitter="augment.jitter",
    recolour="augment.recolour",
    pair_information="evaluate.pair_information",
    check_tau="joint.model.check_tau",
    check_latents="joint.model._check_latents",
    check_terms="joint.objective._check_terms",
    clip_capacity="joint.objective._clip_capacity",
    Expected="joint.EnumeratedLikelihood",
)
