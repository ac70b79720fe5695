"""mpi4py on GPU memory: arrays that announce themselves by __cuda_array_interface__ and DLPack, as those of CuPy and
PyTorch do, and PyTorch's own where it is installed and finds a GPU.

Catches what the C tests do not meet: a driver that Python loads long after MPI_Init, tensors whose storage begins
elsewhere than their data, results that PyTorch sees on its own stream.
Failures are one line on stderr, then MPI_Abort, as in the C programs.
"""
import ctypes
import sys

try:
    import numpy as np
    from mpi4py import MPI
except ImportError as error:
    print(f"test_python: SKIP {error}")
    sys.exit(77)

world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
checks = 0


def check(condition, what):
    global checks
    if not condition:
        print(f"test_python: FAIL rank {rank}/{size}: {what}", file=sys.stderr, flush=True)
        world.Abort(1)
    checks += 1


world.allreduce(1)  # the component is at work before there is a driver
try:
    cu = ctypes.CDLL("libcuda.so.1")
except OSError:
    print("test_python: SKIP no libcuda.so.1 (without a GPU: tests/gpu/run --emulated)")
    sys.exit(77)
pointer, length = ctypes.c_uint64, ctypes.c_size_t
for name, types in (("cuMemcpy", [pointer, pointer, length]), ("cuMemFree_v2", [pointer]),
                    ("cuMemAlloc_v2", [ctypes.POINTER(pointer), length]),
                    ("cuCtxSetCurrent", [ctypes.c_void_p])):
    getattr(cu, name).argtypes = types
context, devices = ctypes.c_void_p(), ctypes.c_int()
if cu.cuInit(0) != 0 or cu.cuDeviceGetCount(ctypes.byref(devices)) != 0 or devices.value == 0:
    print("test_python: SKIP the driver has no GPU")
    sys.exit(77)
check(cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), rank % devices.value) == 0, "context")
check(cu.cuCtxSetCurrent(context) == 0, "context")


class DeviceArray:
    """A copy of a numpy array in GPU memory, as CuPy would show it to mpi4py."""

    def __init__(self, array):
        self.array, self.at = np.ascontiguousarray(array), pointer()
        check(cu.cuMemAlloc_v2(ctypes.byref(self.at), self.array.nbytes + 64) == 0, "cuMemAlloc")
        check(cu.cuMemcpy(self.at, self.array.ctypes.data, self.array.nbytes) == 0, "cuMemcpy")

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.array.shape, "typestr": self.array.dtype.str, "version": 2,
                "data": (self.at.value, False)}

    def get(self):
        result = np.empty_like(self.array)
        check(cu.cuMemcpy(result.ctypes.data, self.at, result.nbytes) == 0, "cuMemcpy")
        return result

    def __del__(self):
        cu.cuMemFree_v2(self.at)


def interface():
    for dtype in ("i4", "i8", "f4", "f8"):
        for count in (1, 3, 1000, 100003):
            base = (np.arange(count) % 97).astype(dtype)
            total = base * (size * (size + 1) // 2)
            given, result = DeviceArray(base * (rank + 1)), DeviceArray(base * 0)
            world.Allreduce(given, result)
            check(np.array_equal(result.get(), total), f"Allreduce of {count} x {dtype}")
            world.Allreduce(MPI.IN_PLACE, given)
            check(np.array_equal(given.get(), total), f"Allreduce of {count} x {dtype} in place")
            mixed = np.empty_like(base)
            world.Allreduce(result, mixed, op=MPI.MAX)
            check(np.array_equal(mixed, total), f"Allreduce of {count} x {dtype} to the host")
            root = count % size
            sent = DeviceArray(base + rank)
            world.Bcast(sent, root)
            check(np.array_equal(sent.get(), base + root), f"Bcast of {count} x {dtype}")
            world.Reduce(sent, result if rank == root else None, root=root)
            if rank == root:
                check(np.array_equal(result.get(), (base + root) * size), f"Reduce of {count} x {dtype}")


def tensors():
    try:
        import torch
    except ImportError:
        return "no PyTorch"
    if not torch.cuda.is_available():
        return "PyTorch finds no GPU"
    torch.cuda.set_device(rank % torch.cuda.device_count())
    for count in (5, 4096, 1000003):
        whole = (torch.arange(count + 8, device="cuda") % 97).to(torch.float32) * (rank + 1)
        given, result = whole[3:-5], torch.empty(count, device="cuda")
        world.Allreduce(given, result)  # without torch.cuda.synchronize: the default stream
        expected = torch.zeros(count)
        world.Allreduce(given.cpu().numpy(), expected.numpy())
        check(torch.equal(result.cpu(), expected), f"Allreduce of {count} elements of tensors")
        world.Allreduce(MPI.IN_PLACE, given)
        check(torch.equal(given.cpu(), expected), f"Allreduce of {count} elements in place")
    return "PyTorch too"


interface()
note = tensors()
if rank == 0:
    print(f"test_python: passed, {size} ranks, {checks} checks on rank 0, {note}")
