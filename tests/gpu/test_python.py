"""mpi4py on GPU memory: arrays that announce themselves by __cuda_array_interface__, as those of CuPy and PyTorch do,
and PyTorch's own where it is installed and finds a GPU.

Catches what the C tests do not meet: a driver that Python loads long after MPI_Init, tensors whose storage begins
elsewhere than their data, results that PyTorch sees on its own stream.
"""
from gpu_common import MPI, DeviceArray, Driver, check, collectives, rank, world
from python_common import passed


class Announced(DeviceArray):
    @property
    def __cuda_array_interface__(self):
        return {"shape": self.array.shape, "typestr": self.array.dtype.str, "version": 2,
                "data": (self.at.value, False)}


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


world.allreduce(1)  # the component is at work before there is a driver
driver = Driver()
for dtype in ("i4", "i8", "f4", "f8"):
    for count in (1, 3, 1000, 100003):
        collectives(count, dtype, lambda array: Announced(driver, array), Announced.get)
passed(tensors())
