"""The computer: hold it to one thread and one arithmetic while timing, and describe it in the records.

torch is looked up among the loaded modules and never imported here: nothing below needs it, and a description of the
machine must not cost two seconds.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.clocks import COUNTS_SWITCHES

POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
TELLING = (
    "OPENBLAS_",
    "OMP_",
    "MKL_",
    "KMP_",
    "GOMP_",
    "MALLOC_",
    "ONEDNN_",
    "DNNL_",
    "ATEN_",
    "TORCH_",
    "NVIDIA_TF32",
)
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "array-api-compat",
    "threadpoolctl",
    "pytest-benchmark",
    "d2lref",
)
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")  # py-cpuinfo reported 1 MB of L3 where there were 32


def pin_environment() -> None:
    """Ask every thread pool for one thread. They read the variables when they load: call this before NumPy does."""
    os.environ.update(dict.fromkeys(POOLS, "1"))


@contextmanager
def pinned() -> Iterator[int]:
    """Hold all loaded libraries to one thread, no gradients and no TF32; give the largest pool's number of threads.

    BLAS and torch have pools of their own, and a pool exists only once its library is loaded: enter this around each
    comparison, not once. TF32 is off because the two sides would otherwise compute in different arithmetic: torch has
    it on for convolutions and off for matrix products.
    """
    from threadpoolctl import threadpool_limits

    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(limits=1))
        if torch := sys.modules.get("torch"):
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            stack.enter_context(torch.inference_mode())
            if torch.cuda.is_available():
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False))
        yield max((pool["threads"] for pool in pools()), default=1)


def conditions() -> dict[str, Any]:
    """Return what no figure may be quoted without: the threads, and the kernels that OpenBLAS was told to use."""
    return {"OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"), "blas": [_kernel(pool) for pool in pools()]}


def describe() -> dict[str, Any]:
    """Return what stays the same from run to run: hardware, libraries, their threads and the variables they read.

    Only such facts: pytest-benchmark warns at length about any difference between two runs' machines.
    """
    with pinned() as threads:
        return {
            "cpu": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "caches": caches(),
            "memory_bytes": _memory(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "packages": versions(),
            "threads": threads,
            "pools": pools(),
            "counts_switches": COUNTS_SWITCHES,
            "torch": _torch_build(sys.modules.get("torch")),
            "gpu": gpu(sys.modules.get("torch")),
            "environment": environment(os.environ),
        }


def moment() -> dict[str, Any]:
    """Return what differs from run to run: the time (UTC), the load, and the GPU's clock and temperature."""
    load = [round(each, 2) for each in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "load": load, "gpu": _gpu_state()}


def environment(variables: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables that change what a library does; OPENBLAS_CORETYPE also when it is not set (None)."""
    told = {name: value for name, value in variables.items() if name.startswith(TELLING) or name == "PYTHONHASHSEED"}
    return dict(sorted({"OPENBLAS_CORETYPE": None, **told}.items()))


def versions() -> dict[str, str]:
    """Return the installed versions of the packages whose speed or bounds are at issue."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def pools() -> list[dict[str, Any]]:
    """Return every thread pool of the process: library, version, kernels chosen and number of threads."""
    from threadpoolctl import threadpool_info

    keys = {"library": "internal_api", "version": "version", "kernels": "architecture", "threads": "num_threads"}
    found = [{key: pool.get(name) for key, name in keys.items()} for pool in threadpool_info()]
    if torch := sys.modules.get("torch"):
        found.append({"library": "torch", "version": torch.__version__, "threads": torch.get_num_threads()})
    return found


def caches(folder: Path = CACHES) -> dict[str, int]:
    """Return the caches of the first core in bytes, such as {"L1 Data": 49152, "L3 Unified": 33554432}."""
    found = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        found[f"L{level} {kind}"] = int(size.removesuffix("K")) * 1024
    return found


def gpu(torch: ModuleType | None) -> dict[str, Any] | None:
    """Return the CUDA device that torch computes on and the arithmetic it is allowed, or None."""
    if torch is None or not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "l2_bytes": getattr(properties, "L2_cache_size", None),
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32": {"cudnn": torch.backends.cudnn.allow_tf32, "matmul": torch.backends.cuda.matmul.allow_tf32},
    }


def _kernel(pool: Mapping[str, Any]) -> str:
    return " ".join(str(pool[key]) for key in ("library", "version", "kernels") if pool.get(key))


def _processor() -> str:
    lines = _lines(Path("/proc/cpuinfo"), "model name")
    return next(iter(lines), platform.processor() or platform.machine())


def _memory() -> int | None:
    lines = _lines(Path("/proc/meminfo"), "MemTotal")
    return int(lines[0].split()[0]) * 1024 if lines else None


def _lines(path: Path, key: str) -> list[str]:
    text = path.read_text() if path.exists() else ""
    return [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(key)]


def _torch_build(torch: ModuleType | None) -> dict[str, Any] | None:
    if torch is None:
        return None
    return {
        "version": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": torch.backends.mkldnn.is_available(),
    }


def _gpu_state() -> dict[str, str] | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    fields = ("clocks.sm", "temperature.gpu")
    command = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    first = answer.stdout.partition("\n")[0]
    return dict(zip(fields, (value.strip() for value in first.split(",")), strict=False))
