"""Numbers with intervals as text: one notation in one interval, digits by its width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiqbench.report.estimates import Estimate
from shiqbench.report.numbers import in_column, short_number

finite = st.floats(-1e9, 1e9)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ((0.7, 1.2e-4, 1.533), "0.700 [0.000, 1.533]"),
        ((0.305, 0.28, 0.33), "0.305 [0.280, 0.330]"),
        ((0.5, 0.4988, 0.5012), "0.5000 [0.4988, 0.5012]"),
        ((123.456, 101.2, 145.1), "123 [101, 145]"),
        ((12.3456, 10.1, 14.5), "12.3 [10.1, 14.5]"),
        ((3e-5, 2e-5, 4.1e-5), "3.0e-05 [2.0e-05, 4.1e-05]"),
        ((0.0, -2e-4, 2e-4), "0.0e+00 [-2.0e-04, 2.0e-04]"),
        ((-1e-5, -0.2, 0.2), "0.000 [-0.200, 0.200]"),
        ((0.25, 0.25, 0.25), "0.250 [0.250, 0.250]"),
        ((0.25, None, None), "0.250"),
        ((float("nan"), None, None), "nan"),
    ],
)
def test_a_number_and_its_ends_have_one_notation(number: tuple[float, float | None, float | None], text: str) -> None:
    assert str(Estimate(*number, how="")) == text


def test_a_column_has_one_number_of_decimals() -> None:
    assert in_column([(0.5, 0.499, 0.501), (0.2, None, None), (0.3, 0.1, 0.5), (2e-9, None, None)]) == [
        "0.5000 [0.4990, 0.5010]", "0.2000", "0.3000 [0.1000, 0.5000]", "2.0e-09",
    ]  # fmt: skip
    assert [short_number(v) for v in (0.0, 0.001, 0.0005, -1.23456)] == ["0.000", "0.001", "5.0e-04", "-1.235"]


@given(st.lists(st.lists(finite, min_size=3, max_size=3).map(sorted), min_size=1, max_size=5))
def test_no_row_has_two_notations(rows: list[list[float]]) -> None:
    for (low, value, high), text in zip(rows, in_column([(v, lo, hi) for lo, v, hi in rows]), strict=True):
        parts = [part.strip("[],") for part in text.split()]
        assert len({"e" in part for part in parts}) == 1
        assert len({len(part.split("e")[0].partition(".")[2]) for part in parts}) == 1
        assert not any(part.startswith("-") and not float(part) for part in parts)
        half, size = (high - low) / 2, max(abs(low), abs(high))
        least = 0.051 * half if half else 0.051 * size
        assert all(
            abs(float(part) - n) <= max(least, 1e-6 * max(1.0, size))
            for part, n in zip(parts, (value, low, high), strict=True)
        )
