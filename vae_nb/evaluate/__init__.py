"Every score of a model, on one table or one by one, and a doctor that says what is wrong."

from ..core import moved
from .bounds import active_units, encode_all, mean_kl_per_dim, nll, nll_by_k
from .codes import (
    cluster_accuracy,
    information,
    mutual_information_gap,
    pair_information,
)
from .doctor import diagnose
from .findings import Finding, Findings
from .pictures import (
    copy_scores,
    digit_features,
    frechet_distance,
    inception_features,
    reconstruct_all,
    sliced_wasserstein,
    small_classifier,
)
from .report import evaluate

__all__ = [
    # all of it
    "evaluate",
    "diagnose",
    "Findings",
    "Finding",
    # a whole dataset through a model
    "encode_all",
    "reconstruct_all",
    # likelihood
    "nll",
    "nll_by_k",
    # latents in use, and what codes know
    "mean_kl_per_dim",
    "active_units",
    "information",
    "cluster_accuracy",
    "mutual_information_gap",
    # pictures: one copy, or two sets of images
    "copy_scores",
    "frechet_distance",
    "sliced_wasserstein",
    "small_classifier",
    "digit_features",
    "inception_features",
]

__getattr__ = moved(
    __name__,
    attribute_classifier="latent.attribute_classifier",
    attribute_targets="latent.scores._attribute_targets",
    decisions="latent.decisions",
    flippable="latent.flippable",
    judge_table="latent.judge_table",
    score_edit="latent.scores.edit_scores",
    score_edits="latent.score_edits",
    wilson="latent.scores._wilson",
    fit_density="priors.fit_density",
    WithPrior="priors.with_prior",
    _ssim="evaluate.pictures.ssim",
    gaussian_part="evaluate.codes.gaussian_part",
    moment_mismatch="evaluate.codes.moment_mismatch",
    standard="evaluate.codes.is_standard_normal",
    some_images="evaluate.bounds.random_batches",
)
