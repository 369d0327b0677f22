"""Environment variables that a training process is started with, unless they are set already. No torch."""

_ALLOCATOR = {"hugetlb": 1, "mmap_threshold": 1 << 30, "trim_threshold": 1 << 40}

SETTINGS = {
    # Threads that wait for each other sleep instead of spinning: beside the site and vLLM, on a machine with two busy
    # processors, a small step takes 18 ms instead of 245.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Of glibc: freed memory stays with the process, in pages of 2 MiB. Each step makes the same large tensors anew;
    # getting them from the kernel page by page took a fifth or more of a step's processor time (docs/experiments.md).
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in _ALLOCATOR.items()),
}
