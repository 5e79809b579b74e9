"""The soak's arithmetic: leaks are found, warm-up and noise are not taken for leaks."""

from __future__ import annotations

import random

from tests.soak.fitting import Bounds, drift, judge, slope, thirds_ratio


def samples(
    hours: float, mebibytes_an_hour: float, *, warm_up: float = 0.0, noise: float = 0.0
) -> list[dict[str, float]]:
    chance, count = random.Random(1), 360
    rows = []
    for number in range(count):
        at = number / count * hours
        grown = 80 + mebibytes_an_hour * at + min(warm_up, warm_up * number / count * 5) + chance.uniform(-noise, noise)
        mapped = 40 + 100 * at
        row = {"hours": at, "rss_mib": grown + mapped, "anonymous_mib": grown, "descriptors": 20.0, "disk_mib": 10 * at}
        rows.append(row)
    return rows


def test_a_slope_is_found_and_noise_is_none() -> None:
    assert abs(slope([(x, 3 * x + 7) for x in range(10)]) - 3) < 1e-9
    assert slope([(1, 1)]) == slope([]) == slope([(1, 1), (1, 2)]) == 0.0
    assert abs(drift(samples(1.0, 0, noise=2))["anonymous_slope_mib_h"]) < 2


def test_a_leak_fails_and_warm_up_does_not() -> None:
    leaking = {"node": drift(samples(1.0, 60))}
    warming = {"node": drift(samples(1.0, 0, warm_up=60, noise=1))}
    assert judge(60, leaking, [10.0] * 60, 100, 100, Bounds())[0] == ["node grows by 60.0 MiB an hour"]
    assert judge(60, warming, [10.0] * 60, 100, 100, Bounds())[0] == []


def test_missing_receipts_slower_receipts_and_lost_descriptors_fail() -> None:
    quiet = {"node": drift(samples(1.0, 0))}
    assert "of 1000" in judge(60, quiet, [10.0] * 60, 1000, 900, Bounds())[0][0]
    rising = [10.0 + 2 * minute for minute in range(60)]
    assert "p99" in judge(60, quiet, rising, 100, 100, Bounds())[0][0]
    opened = samples(1.0, 0)
    for number, row in enumerate(opened):
        row["descriptors"] = 20 + number / 10
    assert "descriptors" in judge(60, {"node": drift(opened)}, [10.0] * 60, 100, 100, Bounds())[0][0]


def test_a_short_run_says_that_it_judges_no_drift() -> None:
    fails, open_questions = judge(2, {"node": drift(samples(1 / 30, 600))}, [10.0, 20.0], 100, 100, Bounds())
    assert fails == []
    assert len(open_questions) == 1
    assert thirds_ratio([]) == thirds_ratio([1.0]) == 1.0
