"""mpi4py on GPU memory that is handed over by DLPack, small calls and such that stay in GPU memory.

usage: test_dlpack.py own | torch | cupy
  own     a tensor made here of the driver's functions: needs neither PyTorch nor CuPy
  torch   tensors of PyTorch, on its current stream
  cupy    arrays of CuPy
Exit status 77 and one line if the library or a GPU is missing. Failures are one line on stderr, then MPI_Abort.
"""
import ctypes
import sys


def skip(reason):
    print(f"test_dlpack: SKIP {reason}")
    sys.exit(77)


try:
    import numpy as np
    from mpi4py import MPI
except ImportError as missing:
    skip(missing)

world = MPI.COMM_WORLD
rank, size = world.Get_rank(), world.Get_size()
COUNTS = (1, 1000, 100003, 700001)
checks = 0


def check(condition, what):
    global checks
    if not condition:
        print(f"test_dlpack: FAIL rank {rank}/{size}: {what}", file=sys.stderr, flush=True)
        world.Abort(1)
    checks += 1


class Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", Device), ("ndim", ctypes.c_int32),
                ("dtype", DataType), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class Managed(ctypes.Structure):
    """DLManagedTensor of dlpack.h. The deleter is NULL: the array lives longer than the capsule."""
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Own:
    """Arrays of float32 in GPU memory, by the driver."""

    def __init__(self):
        try:
            self.cu = ctypes.CDLL("libcuda.so.1")
        except OSError:
            skip("no libcuda.so.1 (without a GPU: tests/gpu/run --emulated)")
        pointer, length = ctypes.c_uint64, ctypes.c_size_t
        self.cu.cuMemcpy.argtypes = [pointer, pointer, length]
        self.cu.cuMemFree_v2.argtypes = [pointer]
        self.cu.cuMemAlloc_v2.argtypes = [ctypes.POINTER(pointer), length]
        self.cu.cuCtxSetCurrent.argtypes = [ctypes.c_void_p]
        context, devices = ctypes.c_void_p(), ctypes.c_int()
        if self.cu.cuInit(0) or self.cu.cuDeviceGetCount(ctypes.byref(devices)) or not devices.value:
            skip("the driver has no GPU")
        self.device = rank % devices.value
        check(self.cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), self.device) == 0, "context")
        check(self.cu.cuCtxSetCurrent(context) == 0, "context")

    def make(self, array):
        return OwnArray(self, array)

    @staticmethod
    def get(array):
        return array.get()


class OwnArray:
    def __init__(self, own, array):
        self.cu, self.at, self.nbytes, self.count = own.cu, ctypes.c_uint64(), array.nbytes, array.size
        check(self.cu.cuMemAlloc_v2(ctypes.byref(self.at), self.nbytes) == 0, "cuMemAlloc")
        check(self.cu.cuMemcpy(self.at, array.ctypes.data, self.nbytes) == 0, "cuMemcpy")
        self.device = Device(2, own.device)  # kDLCUDA
        self.shape = (ctypes.c_int64 * 1)(self.count)
        self.managed = Managed(Tensor(self.at.value, self.device, 1, DataType(2, 32, 1), self.shape,
                                      None, 0), None, None)

    def __dlpack_device__(self):
        return (self.device.type, self.device.id)

    def __dlpack__(self, stream=None, **_):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.byref(self.managed), b"dltensor", None)

    def get(self):
        result = np.empty(self.count, "f4")
        check(self.cu.cuMemcpy(result.ctypes.data, self.at, self.nbytes) == 0, "cuMemcpy")
        return result

    def __del__(self):
        self.cu.cuMemFree_v2(self.at)


class DlpackOnly:
    """Shows nothing of an array but DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream=None, **_):
        return self.array.__dlpack__()


class Torch:
    def __init__(self):
        try:
            import torch
        except ImportError:
            skip("no PyTorch")
        if not torch.cuda.is_available():
            skip("PyTorch finds no GPU")
        torch.cuda.set_device(rank % torch.cuda.device_count())
        self.torch = torch

    def make(self, array):
        return self.torch.from_numpy(array).cuda()

    @staticmethod
    def get(array):
        return array.cpu().numpy()


class Cupy:
    def __init__(self):
        try:
            import cupy
        except ImportError:
            skip("no CuPy")
        try:
            devices = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError:
            skip("CuPy finds no GPU")
        cupy.cuda.Device(rank % devices).use()
        self.cupy = cupy

    def make(self, array):
        return self.cupy.asarray(array)

    @staticmethod
    def get(array):
        return array.get()


world.allreduce(1)  # the component is at work before there is a driver
LIBRARIES = {"own": Own, "torch": Torch, "cupy": Cupy}
if len(sys.argv) != 2 or sys.argv[1] not in LIBRARIES:
    sys.exit(__doc__)
library = LIBRARIES[sys.argv[1]]()
for count in COUNTS:
    base = (np.arange(count) % 97).astype("f4")
    total = base * (size * (size + 1) // 2)
    given, result = library.make(base * (rank + 1)), library.make(base * 0)
    world.Allreduce(DlpackOnly(given), DlpackOnly(result))
    check(np.array_equal(library.get(result), total), f"Allreduce of {count}")
    check(np.array_equal(library.get(given), base * (rank + 1)), f"the input of {count}")
    world.Allreduce(MPI.IN_PLACE, DlpackOnly(given))
    check(np.array_equal(library.get(given), total), f"Allreduce of {count} in place")
    root = count % size
    sent = library.make(base + rank)
    world.Bcast(DlpackOnly(sent), root)
    check(np.array_equal(library.get(sent), base + root), f"Bcast of {count}")
    world.Reduce(DlpackOnly(sent), DlpackOnly(result) if rank == root else None, root=root)
    if rank == root:
        check(np.array_equal(library.get(result), (base + root) * size), f"Reduce of {count}")
if rank == 0:
    print(f"test_dlpack: passed, {size} ranks, {checks} checks on rank 0, {sys.argv[1]}")
