"""Probes of the machine: GPU, pinned memory, shared memory, processor, memory."""

from __future__ import annotations

import functools
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from flightbridge.cli.probes import OK, WARN, Finding, Probe
from flightbridge.cli.probes.child import Outcome, try_command, try_python
from flightbridge.config import format_bytes

_GIB = 1 << 30
_CAP_IPC_LOCK = 14

_CUDA = """
import ctypes, sys
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError:
    print("none"); sys.exit(0)
code = cuda.cuInit(0)
if code:
    sys.exit(f"cuInit failed with CUDA error {code}")
count, version = ctypes.c_int(), ctypes.c_int()
cuda.cuDeviceGetCount(ctypes.byref(count)); cuda.cuDriverGetVersion(ctypes.byref(version))
names = []
for i in range(count.value):
    device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    cuda.cuDeviceGet(ctypes.byref(device), i); cuda.cuDeviceGetName(name, 128, device)
    names.append(name.value.decode(errors="replace"))
major, minor = version.value // 1000, version.value % 1000 // 10
print(f"{count.value} x {names[0]}, CUDA {major}.{minor} driver" if names else "none")
"""


@functools.cache
def _cuda() -> Outcome:
    return try_python(_CUDA, 60)


def cuda_devices() -> str | None:
    """The GPUs that the driver library gives, as text; None where there are none."""
    driver = _cuda()
    return driver.text if driver.ok and driver.text != "none" else None


def gpu() -> Iterator[Finding]:
    """GPUs as the driver library sees them (dlopen), and nvidia-smi where that fails."""
    driver, devices = _cuda(), cuda_devices()
    if devices is not None:
        yield Finding("gpu", OK, devices)
        yield from pinned_memory(gpu_present=True)
        return
    smi = try_command(["nvidia-smi", "-L"], 30) if shutil.which("nvidia-smi") else None
    if smi is not None and smi.ok:
        yield Finding(
            "gpu",
            WARN,
            f"nvidia-smi lists {smi.text.splitlines()[0]}, but libcuda.so.1 gives no device",
            "make the driver's libraries visible here (container: run with --gpus all), and check "
            "CUDA_VISIBLE_DEVICES",
        )
    elif not driver.ok:
        yield Finding(
            "gpu",
            WARN,
            driver.text,
            "the driver does not match its kernel module: reboot or reinstall the driver",
        )
    else:
        yield Finding("gpu", OK, "none; TensorFlow trains on the CPU")
    yield from pinned_memory(gpu_present=False)


def pinned_memory(*, gpu_present: bool) -> Iterator[Finding]:
    """RLIMIT_MEMLOCK: how much memory a process may lock for fast copies to a GPU."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        yield Finding("pinned memory limit", OK, "unlimited")
    elif _has_capability(_CAP_IPC_LOCK):
        yield Finding("pinned memory limit", OK, f"{format_bytes(soft)}, lifted by CAP_IPC_LOCK")
    elif gpu_present and soft < _GIB:
        yield Finding(
            "pinned memory limit",
            WARN,
            format_bytes(soft),
            "batches go to the GPU from unpinned memory, about half as fast: raise it with "
            "ulimit -l unlimited, LimitMEMLOCK=infinity (systemd) or --ulimit memlock=-1 (docker)",
        )
    else:
        note = "" if gpu_present else " (matters with a GPU only)"
        yield Finding("pinned memory limit", OK, format_bytes(soft) + note)


def shared_memory() -> Iterator[Finding]:
    """/dev/shm and huge pages."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError:
        yield Finding("/dev/shm", WARN, "missing", "mount a tmpfs on /dev/shm")
    else:
        found = f"{format_bytes(usage.total)}, {format_bytes(usage.free)} free"
        if usage.total < _GIB:
            yield Finding(
                "/dev/shm",
                WARN,
                found,
                "too small for feeds on the same host: docker run --shm-size=4g, or "
                "mount -o remount,size=4G /dev/shm",
            )
        else:
            yield Finding("/dev/shm", OK, found)
    meminfo = _fields("/proc/meminfo")
    reserved = meminfo.get("HugePages_Total", "0")
    transparent = _selected(_read("/sys/kernel/mm/transparent_hugepage/enabled"))
    yield Finding("huge pages", OK, f"{reserved} reserved, transparent: {transparent or 'unknown'}")


def processor() -> Iterator[Finding]:
    """Cores this process may use, and instructions that checksums need to be fast."""
    cores = len(os.sched_getaffinity(0))
    quota = _cpu_quota(_read("/sys/fs/cgroup/cpu.max"))
    limited = f", limited to {quota:g} by its cgroup" if quota is not None and quota < cores else ""
    found = f"{cores}{limited}"
    if min(cores, quota or cores) < 2:
        yield Finding(
            "cores", WARN, found, "reading ahead and training share one core: give it two"
        )
    else:
        yield Finding("cores", OK, found)
    info = _read("/proc/cpuinfo")
    flags = set(
        next(
            (
                line.partition(":")[2]
                for line in info.splitlines()
                if line.startswith(("flags", "Features"))
            ),
            "",
        ).split()
    )
    if flags & {"sse4_2", "crc32"}:
        wide = [name for name in ("avx2", "avx512f", "sve") if name in flags]
        yield Finding("cpu features", OK, ", ".join(["hardware CRC32C", *wide]))
    else:
        yield Finding(
            "cpu features",
            WARN,
            "no CRC32C instruction (SSE4.2, ARMv8 CRC)",
            "checksums run in software and cost more than the copies: use a newer processor, or "
            "let the hypervisor pass the flag through",
        )


def memory() -> Iterator[Finding]:
    """Memory of the machine and of the cgroup."""
    fields = _fields("/proc/meminfo")
    total = _kib(fields.get("MemTotal", "")) or 0
    available = _kib(fields.get("MemAvailable", "")) or 0
    limit_text = _read("/sys/fs/cgroup/memory.max").strip()
    limit = int(limit_text) if limit_text.isdigit() else None
    found = f"{format_bytes(total)}, {format_bytes(available)} available"
    if limit is not None and limit < total:
        found += f", limited to {format_bytes(limit)} by its cgroup"
    if min(total, limit or total) < 2 * _GIB:
        yield Finding(
            "memory", WARN, found, "lower --memory-limit of the server to half of what there is"
        )
    else:
        yield Finding("memory", OK, found)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _fields(path: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in _read(path).splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _kib(text: str) -> int | None:
    number = text.split()[0] if text.split() else ""
    return int(number) * 1024 if number.isdigit() else None


def _selected(text: str) -> str:
    # "always [madvise] never" -> "madvise"
    return text.partition("[")[2].partition("]")[0]


def _cpu_quota(text: str) -> float | None:
    # cgroup v2 cpu.max: "200000 100000" is two cores, "max 100000" no limit
    parts = text.split()
    if len(parts) != 2 or not parts[0].isdigit():
        return None
    return int(parts[0]) / int(parts[1])


def _has_capability(number: int) -> bool:
    effective = _fields("/proc/self/status").get("CapEff", "0")
    return bool(int(effective, 16) >> number & 1)


PROBES: list[Probe] = [gpu, shared_memory, processor, memory]
