"""Memory by phase, and out of memory as libraries say it."""

import pytest
import torch

from nblib import memory, models
from nblib.memory import measuring

MIB = 2**20


class TestPhase:
    def test_sees_its_own_peak_and_not_the_one_before(self):
        grown = []
        for size in 300, 100:  # over 64 MiB, as much as malloc may keep of what was freed before
            peak = memory.Peak()
            with memory.phase(peak):
                block = torch.ones(size * MIB // 4, device=models.device())
                del block
            grown.append(peak.peak_bytes - peak.before_bytes)
        assert grown[0] >= 290 * MIB
        assert 95 * MIB <= grown[1] < 150 * MIB

    def test_is_measured_where_it_fails_too(self):
        peak = memory.Peak()
        with pytest.raises(RuntimeError, match="on purpose"), memory.phase(peak):
            raise RuntimeError("on purpose")
        assert peak.peak_bytes >= peak.before_bytes > 0

    def test_tells_what_is_held_after_it(self):
        peak = memory.Peak()
        with memory.phase(peak):
            block = torch.ones(100 * MIB // 4, device=models.device())
        assert block.nbytes == 100 * MIB
        assert peak.after_bytes - peak.before_bytes >= 90 * MIB

    def test_a_phase_inside_takes_no_peak_from_the_one_around(self):
        outer, inner, after = memory.Peak(), memory.Peak(), memory.Peak()
        with memory.phase(outer):
            block = torch.ones(200 * MIB // 4, device=models.device())
            del block
            with memory.phase(inner):
                pass
        with memory.phase(after):
            pass
        assert outer.peak_bytes - outer.before_bytes >= 190 * MIB
        assert inner.peak_bytes - inner.before_bytes < 100 * MIB
        assert after.peak_bytes - after.before_bytes < 100 * MIB

    def test_a_phase_around_sees_the_peak_of_the_one_inside(self, monkeypatch):
        readings = iter([(1, 1, 4), (2, 5, 8), (3, 9, 16), (4, 4, 16)])
        monkeypatch.setattr(measuring, "read", lambda: next(readings))
        outer, inner = memory.Peak(), memory.Peak()
        with memory.phase(outer), memory.phase(inner):
            pass
        assert inner == memory.Peak(before_bytes=2, peak_bytes=9, reserved_bytes=16, after_bytes=3)
        assert outer == memory.Peak(before_bytes=1, peak_bytes=9, reserved_bytes=16, after_bytes=4)

    def test_a_peak_that_the_device_does_not_count_is_none(self, monkeypatch):
        monkeypatch.setattr(models, "device", lambda: "mps")
        monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
        monkeypatch.setattr(torch.mps, "current_allocated_memory", iter([10, 30]).__next__)
        monkeypatch.setattr(torch.mps, "driver_allocated_memory", iter([20, 40]).__next__)
        peak = memory.Peak()
        with memory.phase(peak):
            pass
        assert peak == memory.Peak(before_bytes=10, peak_bytes=None, reserved_bytes=40, after_bytes=30)


class TestOutOfMemory:
    @pytest.mark.parametrize(
        ("error", "bytes_"),
        [
            (
                torch.OutOfMemoryError(
                    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
                    "1.06 GiB is free. Including non-PyTorch memory, this process has 78.04 GiB memory in use."
                ),
                5 * 2**29,
            ),
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has…"), 20 * MIB),
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512 bytes. GPU 0 has…"), 512),
            (
                RuntimeError(
                    "MPS backend out of memory (MPS allocated: 5.56 GB, other allocations: 1.10 GB, max allowed: 6.80 "
                    "GB). Tried to allocate 768.00 MB on private pool."
                ),
                768 * MIB,
            ),
            (MemoryError("Unable to allocate 1.50 KiB for an array with shape (192,) and data type float64"), 1536),
            (RuntimeError("CUDA error: out of memory"), None),
            (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), None),
            (MemoryError(), None),
        ],
    )
    def test_it_is_known_with_what_was_asked_for(self, error, bytes_):
        assert memory.is_out_of_memory(error)
        assert memory.requested(error) == bytes_

    def test_a_cpu_says_it_as_a_runtime_error(self):
        with pytest.raises(RuntimeError) as caught:
            torch.empty(2**50)
        assert not isinstance(caught.value, torch.OutOfMemoryError)
        assert memory.is_out_of_memory(caught.value)
        assert memory.requested(caught.value) == 2**52

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
            ValueError("the sandbox ran out of memory"),
            RuntimeError("tried to allocate 3 bytes"),
        ],
    )
    def test_other_errors_are_none(self, error):
        assert not memory.is_out_of_memory(error)
        assert memory.requested(error) is None
