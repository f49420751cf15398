import pytest
import torch

from nblib import memory


def test_a_phase_sees_its_own_peak_and_not_the_one_before():
    large, small = memory.Peak(), memory.Peak()
    with memory.phase(large):
        block = torch.ones(200 * 2**20 // 4)
        del block
    with memory.phase(small):
        block = torch.ones(20 * 2**20 // 4)
        del block
    grown = [peak.peak_bytes - peak.before_bytes for peak in (large, small)]
    assert grown[0] >= 190 * 2**20
    assert grown[1] < 100 * 2**20


def test_a_phase_that_fails_is_measured_too():
    peak = memory.Peak()
    with pytest.raises(RuntimeError, match="on purpose"), memory.phase(peak):
        raise RuntimeError("on purpose")
    assert peak.peak_bytes >= peak.before_bytes > 0
