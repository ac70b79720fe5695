"""mpi4py on GPU memory that is handed over by DLPack, small calls and such that stay in GPU memory.

usage: test_dlpack.py own | torch | cupy
  own     a tensor made here of the driver's functions: needs neither PyTorch nor CuPy
  torch   tensors of PyTorch, on its current stream
  cupy    arrays of CuPy
Exit status 77 and one line if the library or a GPU is missing.
"""
import ctypes
import sys

from gpu_common import DeviceArray, Driver, collectives, rank, skip, world
from python_common import passed


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


class OwnArray(DeviceArray):
    """An array of float32 that shows itself by DLPack."""

    def __init__(self, driver, array):
        super().__init__(driver, array)
        self.shape = (ctypes.c_int64 * 1)(array.size)
        self.managed = Managed(Tensor(self.at.value, Device(2, driver.device), 1,  # kDLCUDA
                                      DataType(2, 32, 1), self.shape, None, 0), None, None)

    def __dlpack_device__(self):
        device = self.managed.tensor.device
        return (device.type, device.id)

    def __dlpack__(self, stream=None, **_):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.byref(self.managed), b"dltensor", None)


class DlpackOnly:
    """Shows nothing of an array but DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream=None, **_):
        return self.array.__dlpack__()


def own():
    driver = Driver()
    return lambda array: OwnArray(driver, array), OwnArray.get


def torch():
    try:
        import torch as library
    except ImportError:
        skip("no PyTorch")
    if not library.cuda.is_available():
        skip("PyTorch finds no GPU")
    library.cuda.set_device(rank % library.cuda.device_count())
    return lambda array: library.from_numpy(array).cuda(), lambda tensor: tensor.cpu().numpy()


def cupy():
    try:
        import cupy as library
    except ImportError:
        skip("no CuPy")
    try:
        devices = library.cuda.runtime.getDeviceCount()
    except library.cuda.runtime.CUDARuntimeError:
        skip("CuPy finds no GPU")
    library.cuda.Device(rank % devices).use()
    return library.asarray, lambda array: array.get()


LIBRARIES = {"own": own, "torch": torch, "cupy": cupy}
if len(sys.argv) != 2 or sys.argv[1] not in LIBRARIES:
    sys.exit(__doc__)
world.allreduce(1)  # the component is at work before there is a driver
make, get = LIBRARIES[sys.argv[1]]()
for count in (1, 1000, 100003, 700001):
    collectives(count, "f4", make, get, DlpackOnly)
passed(sys.argv[1])
