"""What the Python tests on GPU memory share: the driver's functions, arrays in GPU memory, one round of collectives."""
import ctypes
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mpi"))
from python_common import MPI, check, np, rank, size, skip, world  # noqa: E402

pointer, length = ctypes.c_uint64, ctypes.c_size_t


class Driver:
    """The driver, with the primary context of this rank's device."""

    def __init__(self):
        try:
            self.cu = ctypes.CDLL("libcuda.so.1")
        except OSError:
            skip("no libcuda.so.1 (without a GPU: tests/gpu/run --emulated)")
        for name, types in (("cuMemcpy", [pointer, pointer, length]), ("cuMemFree_v2", [pointer]),
                            ("cuMemAlloc_v2", [ctypes.POINTER(pointer), length]),
                            ("cuCtxSetCurrent", [ctypes.c_void_p])):
            getattr(self.cu, name).argtypes = types
        context, devices = ctypes.c_void_p(), ctypes.c_int()
        if self.cu.cuInit(0) or self.cu.cuDeviceGetCount(ctypes.byref(devices)) or not devices.value:
            skip("the driver has no GPU")
        self.device = rank % devices.value
        check(self.cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), self.device) == 0, "context")
        check(self.cu.cuCtxSetCurrent(context) == 0, "context")


class DeviceArray:
    """A copy of a numpy array in GPU memory."""

    def __init__(self, driver, array):
        self.cu, self.device = driver.cu, driver.device
        self.array, self.at = np.ascontiguousarray(array), pointer()
        check(self.cu.cuMemAlloc_v2(ctypes.byref(self.at), self.array.nbytes + 64) == 0, "cuMemAlloc")
        check(self.cu.cuMemcpy(self.at, self.array.ctypes.data, self.array.nbytes) == 0, "cuMemcpy")

    def get(self):
        result = np.empty_like(self.array)
        check(self.cu.cuMemcpy(result.ctypes.data, self.at, result.nbytes) == 0, "cuMemcpy")
        return result

    def __del__(self):
        self.cu.cuMemFree_v2(self.at)


def collectives(count, dtype, make, get, show=lambda array: array):
    """Every collective of `count` elements. make: an array on the GPU of a numpy array, get: the other way;
    show: what mpi4py is given."""
    what = f"{count} x {dtype}"
    base = (np.arange(count) % 97).astype(dtype)
    total = base * (size * (size + 1) // 2)
    given, result = make(base * (rank + 1)), make(base * 0)
    world.Allreduce(show(given), show(result))
    check(np.array_equal(get(result), total), f"Allreduce of {what}")
    check(np.array_equal(get(given), base * (rank + 1)), f"the input of {what}")
    world.Allreduce(MPI.IN_PLACE, show(given))
    check(np.array_equal(get(given), total), f"Allreduce of {what} in place")
    mixed = np.empty_like(base)
    world.Allreduce(show(result), mixed, op=MPI.MAX)
    check(np.array_equal(mixed, total), f"Allreduce of {what} to the host")
    root = count % size
    sent = make(base + rank)
    world.Bcast(show(sent), root)
    check(np.array_equal(get(sent), base + root), f"Bcast of {what}")
    world.Reduce(show(sent), show(result) if rank == root else None, root=root)
    if rank == root:
        check(np.array_equal(get(result), (base + root) * size), f"Reduce of {what}")
