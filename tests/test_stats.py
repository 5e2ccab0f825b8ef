"""Shared statistics: the exact test of paired photos, and the correction for many tests."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfviz.stats import holm, mcnemar


def test_mcnemars_exact_test_of_textbook_cases() -> None:
    """Agresti's approval ratings (150 and 86 changed; chi-square 17.4), and cases worked out by hand."""
    assert mcnemar(150, 86) == pytest.approx(3.7e-5, rel=0.02)
    assert mcnemar(0, 5) == mcnemar(5, 0) == 2 / 2**5
    assert mcnemar(1, 3) == 2 * (1 + 4) / 2**4
    assert mcnemar(4, 4) == mcnemar(0, 0) == 1
    assert 0 < mcnemar(100, 900) < 1e-150  # no underflow on the way
    assert mcnemar(3900, 3950) == pytest.approx(0.58, abs=0.01)
    with pytest.raises(ValueError, match="expected whole numbers from 0"):
        mcnemar(-1, 3)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_test_adds_up_both_tails(lost: int, won: int) -> None:
    n = lost + won
    both = sum(comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= abs(lost - won))
    assert mcnemar(lost, won) == pytest.approx(both / 2**n)


def test_holms_correction_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferronis(p: list[float]) -> None:
    corrected = np.array(holm(p))
    assert (corrected >= np.array(p)).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()
