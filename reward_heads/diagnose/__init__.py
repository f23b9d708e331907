"""Look at a reward from every side before trusting it: accuracy with intervals, correlation of heads, label noise, annotators, cycles, rows to read.

    from reward_heads.diagnose import diagnose
    diagnosis = diagnose(reward, held_out_rows)
    print(diagnosis)  # and diagnosis.to_json() for a page

Rows are scored once; every part also stands alone:

    >>> from reward_heads import FunctionReward
    >>> from reward_heads.diagnose import accuracy_report, correlation_report, score_rows
    >>> reward = FunctionReward({"brief": lambda p, c: -len(c), "short": lambda p, c: -2.0 * len(c)})
    >>> pair = {"prompt": "Ask.", "completion_a": "yes", "completion_b": "maybe so", "labels": {"brief": 1.0}}
    >>> scored = score_rows(reward, [pair, {**pair, "completion_a": "no"}, {**pair, "completion_b": "never"}])
    >>> accuracy_report(scored).pairs[0].accuracy.value
    1.0
    >>> print(correlation_report(scored).pairs[0].finding)
    brief and short are 1.00 correlated within prompts: steering between them will do almost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.diagnose.accuracy import (
        AccuracyReport,
        PairAccuracy,
        RatingAgreement,
        accuracy_report,
        pair_accuracy,
    )
    from reward_heads.diagnose.agreement import AgreementReport, Annotator, agreement_report, krippendorff_alpha
    from reward_heads.diagnose.correlation import (
        CorrelationReport,
        HeadPair,
        Redundancy,
        correlation_report,
        effective_number,
        reliability_of_flips,
    )
    from reward_heads.diagnose.dawid_skene import DawidSkene, dawid_skene_report, fit_dawid_skene
    from reward_heads.diagnose.disagreement import Disagreement, DisagreementReport, disagreement_report
    from reward_heads.diagnose.everything import Diagnosis, diagnose
    from reward_heads.diagnose.intervals import Resampling, wilson
    from reward_heads.diagnose.intransitivity import Intransitivity, cycle_report, cycle_test
    from reward_heads.diagnose.noise import AnnotatorNoise, LabelNoise, NoiseReport, label_noise, noise_report
    from reward_heads.diagnose.report import Estimate
    from reward_heads.diagnose.scored import ScoredRows, score_rows

_HOME = {
    "AccuracyReport": "accuracy",
    "AgreementReport": "agreement",
    "Annotator": "agreement",
    "AnnotatorNoise": "noise",
    "CorrelationReport": "correlation",
    "DawidSkene": "dawid_skene",
    "Diagnosis": "everything",
    "Disagreement": "disagreement",
    "DisagreementReport": "disagreement",
    "Estimate": "report",
    "HeadPair": "correlation",
    "Intransitivity": "intransitivity",
    "LabelNoise": "noise",
    "NoiseReport": "noise",
    "PairAccuracy": "accuracy",
    "RatingAgreement": "accuracy",
    "Redundancy": "correlation",
    "Resampling": "intervals",
    "ScoredRows": "scored",
    "accuracy_report": "accuracy",
    "agreement_report": "agreement",
    "correlation_report": "correlation",
    "cycle_report": "intransitivity",
    "cycle_test": "intransitivity",
    "dawid_skene_report": "dawid_skene",
    "diagnose": "everything",
    "disagreement_report": "disagreement",
    "effective_number": "correlation",
    "fit_dawid_skene": "dawid_skene",
    "krippendorff_alpha": "agreement",
    "label_noise": "noise",
    "noise_report": "noise",
    "pair_accuracy": "accuracy",
    "reliability_of_flips": "correlation",
    "score_rows": "scored",
    "wilson": "intervals",
}

__all__ = [
    "AccuracyReport",
    "AgreementReport",
    "Annotator",
    "AnnotatorNoise",
    "CorrelationReport",
    "DawidSkene",
    "Diagnosis",
    "Disagreement",
    "DisagreementReport",
    "Estimate",
    "HeadPair",
    "Intransitivity",
    "LabelNoise",
    "NoiseReport",
    "PairAccuracy",
    "RatingAgreement",
    "Redundancy",
    "Resampling",
    "ScoredRows",
    "accuracy_report",
    "agreement_report",
    "correlation_report",
    "cycle_report",
    "cycle_test",
    "dawid_skene_report",
    "diagnose",
    "disagreement_report",
    "effective_number",
    "fit_dawid_skene",
    "krippendorff_alpha",
    "label_noise",
    "noise_report",
    "pair_accuracy",
    "reliability_of_flips",
    "score_rows",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.diagnose' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.diagnose.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
