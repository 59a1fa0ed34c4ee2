"""The method shelf: quantisers of the paper's references, each a small class with its known values."""

from duonet.methods.bases import ABCNet, LQNets
from duonet.methods.circulant import CBCNWeights, Circulant, turned
from duonet.methods.clipped import PACT
from duonet.methods.continuous import ContinuousBinary
from duonet.methods.distribution import DistributionLoss, distribution_loss
from duonet.methods.factors import Factors, LearnedScaleSign, Tucker
from duonet.methods.fixed_point import (
    FixedPointActivations,
    FixedPointWeights,
    allocate_bits,
    combined_sqnr,
    stochastic_rounding,
)
from duonet.methods.gradients import DoReFaGradients, quantized_gradient
from duonet.methods.hwgq import HWGQ, LogTail, half_wave
from duonet.methods.input_scales import InputScales
from duonet.methods.interaction import ChannelInteraction, mine_edges
from duonet.methods.interval import QIL, QILWeights, qil_progressive
from duonet.methods.learned_range import LearnedRange, in_range, positive, within
from duonet.methods.plain import sign_clipped, sign_polynomial, sign_swish, uniform
from duonet.methods.projected import PCNNWeights, Projections, projection_loss
from duonet.methods.projections import centre_weights, clip_weights
from duonet.methods.pulled import BNNPlusWeights, pull
from duonet.methods.renewed import renew_statistics
from duonet.methods.sharpened import SharpenedSign, sharpened_sign
from duonet.methods.shelf import Entry, entries, find, listed
from duonet.methods.soft_steps import DSQ, LearnedDSQ, dsq_fixed
from duonet.methods.staged import (
    Later,
    bi_real_staged,
    bi_real_staged_weights,
    bi_real_stages,
    bottom_to_top,
    frozen_below,
    in_turn,
    settled,
)
from duonet.methods.stochastic import Baseline, StochasticBinary, unbiased_gradient
from duonet.methods.wage import WAGEActivation, WAGEErrors, WAGEWeights
from duonet.methods.wage_training import WAGESGD, wage_uniform
from duonet.methods.weight_bases import ABCWeights, LQWeights
from duonet.methods.weight_grids import DoReFaWeights, SAWBWeights, WRPNWeights
from duonet.methods.weight_signs import BiRealWeights, BNNWeights, StochasticWeights, XNORWeights

__all__ = [
    "ABCNet", "ABCWeights", "BNNPlusWeights", "BNNWeights", "Baseline", "BiRealWeights", "CBCNWeights",
    "ChannelInteraction", "Circulant", "ContinuousBinary", "DSQ", "DistributionLoss", "DoReFaGradients",
    "DoReFaWeights", "Entry", "Factors", "FixedPointActivations", "FixedPointWeights", "HWGQ", "InputScales",
    "LQNets", "LQWeights", "Later", "LearnedDSQ", "LearnedRange", "LearnedScaleSign", "LogTail", "PACT",
    "PCNNWeights", "Projections", "QIL", "QILWeights", "SAWBWeights", "SharpenedSign", "StochasticBinary",
    "StochasticWeights", "Tucker", "WAGEActivation", "WAGEErrors", "WAGESGD", "WAGEWeights", "WRPNWeights",
    "XNORWeights", "allocate_bits", "bi_real_staged", "bi_real_staged_weights", "bi_real_stages",
    "bottom_to_top", "centre_weights", "clip_weights", "combined_sqnr", "distribution_loss", "dsq_fixed",
    "entries", "find", "frozen_below", "half_wave", "in_range", "in_turn", "listed", "mine_edges", "positive",
    "projection_loss", "pull", "qil_progressive", "quantized_gradient", "renew_statistics", "settled",
    "sharpened_sign", "sign_clipped", "sign_polynomial", "sign_swish", "stochastic_rounding", "turned",
    "unbiased_gradient", "uniform", "wage_uniform", "within",
]  # fmt: skip
