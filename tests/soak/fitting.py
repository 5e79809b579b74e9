"""From samples to verdicts: slopes, drifts, and what is too short to be judged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

MIN_MINUTES = 10
"""Below this a slope is mostly warm-up: caches fill, the allocator settles."""
WARM_UP_SHARE = 0.25
"""The first quarter is not fitted."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What still passes."""

    anonymous_slope_mib_h: float = 24.0
    """Growth of one process without the tables that LevelDB maps, which are bounded and can be taken back; at this rate
    a node of 100 MiB reaches its 1 GiB in a day and a half."""
    descriptors: float = 8.0
    p99_ratio: float = 2.0
    """p99 of the last third over that of the first third behind the warm-up."""
    answered_share: float = 0.999


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: growth of the second value for each unit of the first; 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    middle_x, middle_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def behind_warm_up(samples: Sequence[Any]) -> Sequence[Any]:
    """The samples that are fitted."""
    return samples[int(len(samples) * WARM_UP_SHARE) :]


def thirds_ratio(values: Sequence[float]) -> float:
    """Median of the last third over that of the first; 1 if there are too few."""
    third = len(values) // 3
    if not third:
        return 1.0
    first = median(values[:third])
    return median(values[-third:]) / first if first else 1.0


def drift(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """What one process does over time; samples hold `hours`, `rss_mib`, `anonymous_mib`, `descriptors`,
    `disk_mib`."""
    kept = behind_warm_up(samples)
    third = max(1, len(kept) // 3)
    descriptors = [sample["descriptors"] for sample in kept]
    return {
        "rss_first_mib": round(samples[0]["rss_mib"], 1),
        "rss_last_mib": round(samples[-1]["rss_mib"], 1),
        "rss_max_mib": round(max(sample["rss_mib"] for sample in samples), 1),
        "rss_slope_mib_h": round(slope([(sample["hours"], sample["rss_mib"]) for sample in kept]), 2),
        "anonymous_first_mib": round(kept[0]["anonymous_mib"], 1),
        "anonymous_last_mib": round(kept[-1]["anonymous_mib"], 1),
        "anonymous_slope_mib_h": round(slope([(sample["hours"], sample["anonymous_mib"]) for sample in kept]), 2),
        "descriptors_last": descriptors[-1],
        "descriptors_drift": median(descriptors[-third:]) - median(descriptors[:third]),
        "disk_slope_mib_h": round(slope([(sample["hours"], sample["disk_mib"]) for sample in kept]), 1),
    }


def judge(
    minutes: float, processes: dict[str, dict[str, float]], p99s: Sequence[float], sent: int, final: int, bounds: Bounds
) -> tuple[list[str], list[str]]:
    """(what fails, what could not be judged)."""
    fails, open_questions = [], []
    if final < bounds.answered_share * sent:
        fails.append(f"{sent - final} of {sent} transactions have no final receipt")
    if minutes < MIN_MINUTES:
        open_questions.append(f"drift: {minutes:g} minutes are warm-up, {MIN_MINUTES} are the least")
        return fails, open_questions
    for name, figures in processes.items():
        if figures["anonymous_slope_mib_h"] > bounds.anonymous_slope_mib_h:
            fails.append(f"{name} grows by {figures['anonymous_slope_mib_h']} MiB an hour")
        if abs(figures["descriptors_drift"]) > bounds.descriptors:
            fails.append(f"{name} drifts by {figures['descriptors_drift']:g} descriptors")
    ratio = thirds_ratio(behind_warm_up(p99s))
    if ratio > bounds.p99_ratio:
        fails.append(f"p99 of the receipts rose by a factor of {ratio:.1f}")
    return fails, open_questions
