"""Make scores mean what they say: probabilities of preference, odds of a flag, ratings; and measure how far they are from it.

    from reward_heads.calibrate import calibrate, plot_reliability
    calibrated, report = calibrate(reward, held_out_rows)  # a VectorReward; save_reward and load_reward keep the calibration with it
    print(report)

On plain numbers:

    >>> from reward_heads.calibrate import fit_temperature, pair_calibration_error
    >>> differences, labels = [2.0] * 10, [1.0] * 7 + [0.0] * 3  # a head that is sure by 2 nats, right in 7 of 10 pairs
    >>> round(pair_calibration_error(differences, labels).ece, 3)  # it said σ(2) = 0.881
    0.181
    >>> temperature = fit_temperature(differences, labels).temperature
    >>> round(pair_calibration_error([d / temperature for d in differences], labels).ece, 3)
    0.0
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.calibrate.coverage import Coverage, interval_coverage
    from reward_heads.calibrate.decomposition import Decomposition, decompose
    from reward_heads.calibrate.ece import (
        Bin,
        CalibrationError,
        binary_calibration_error,
        pair_calibration_error,
        probability_error,
        rating_calibration_error,
    )
    from reward_heads.calibrate.fit import CalibrationReport, ObjectiveCalibration, calibrate, calibration_errors
    from reward_heads.calibrate.isotonic import Isotonic, fit_isotonic
    from reward_heads.calibrate.maps import Affine, Cooled, Identity, ScoreMap, fit_line
    from reward_heads.calibrate.pair_calibrator import PairCalibrator, fit_pair_calibrator
    from reward_heads.calibrate.platt import fit_platt
    from reward_heads.calibrate.reliability import plot_reliability
    from reward_heads.calibrate.temperature import Temperature, fit_temperature
    from reward_heads.calibrate.transform import Calibration

_HOME = {
    "Affine": "maps",
    "Bin": "ece",
    "Calibration": "transform",
    "CalibrationError": "ece",
    "CalibrationReport": "fit",
    "Cooled": "maps",
    "Coverage": "coverage",
    "Decomposition": "decomposition",
    "Identity": "maps",
    "Isotonic": "isotonic",
    "ObjectiveCalibration": "fit",
    "PairCalibrator": "pair_calibrator",
    "ScoreMap": "maps",
    "Temperature": "temperature",
    "binary_calibration_error": "ece",
    "calibrate": "fit",
    "calibration_errors": "fit",
    "decompose": "decomposition",
    "fit_isotonic": "isotonic",
    "fit_line": "maps",
    "fit_pair_calibrator": "pair_calibrator",
    "fit_platt": "platt",
    "fit_temperature": "temperature",
    "interval_coverage": "coverage",
    "pair_calibration_error": "ece",
    "plot_reliability": "reliability",
    "probability_error": "ece",
    "rating_calibration_error": "ece",
}

__all__ = [
    "Affine",
    "Bin",
    "Calibration",
    "CalibrationError",
    "CalibrationReport",
    "Cooled",
    "Coverage",
    "Decomposition",
    "Identity",
    "Isotonic",
    "ObjectiveCalibration",
    "PairCalibrator",
    "ScoreMap",
    "Temperature",
    "binary_calibration_error",
    "calibrate",
    "calibration_errors",
    "decompose",
    "fit_isotonic",
    "fit_line",
    "fit_pair_calibrator",
    "fit_platt",
    "fit_temperature",
    "interval_coverage",
    "pair_calibration_error",
    "plot_reliability",
    "probability_error",
    "rating_calibration_error",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.calibrate' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.calibrate.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
