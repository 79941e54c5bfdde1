"""Run a program and end every process that it leaves: `guardian_windows.py PARENT PROGRAM ...`.

The guardian puts itself into a job object with KILL_ON_JOB_CLOSE and holds the only handle to it.
The program and its tools are in the job too. However the guardian ends, Windows closes the handle
and ends them all. The guardian ends with the program, with its exit code; when the process PARENT
ends; and when the service ends it. One guardian runs for each program, as `python -I -S`.

This has been checked for types, but not run on Windows.
"""

import ctypes
import os
import subprocess
import sys

_EXTENDED_LIMIT_INFORMATION = 9
_KILL_ON_JOB_CLOSE = 0x2000
_SYNCHRONIZE = 0x100000
_INFINITE = 0xFFFFFFFF


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_memory", ctypes.c_size_t),
        ("most_memory", ctypes.c_size_t),
        ("processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority", ctypes.c_uint32),
        ("scheduling", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("basic", _BasicLimits),
        ("io", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    )


def main() -> None:
    """Make the job, start the program in it, and wait for the end of the program or the service."""
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = ctypes.c_void_p
        for function in (kernel.CreateJobObjectW, kernel.OpenProcess, kernel.GetCurrentProcess):
            function.restype = handle
        job = handle(kernel.CreateJobObjectW(None, None))
        limits = _ExtendedLimits()
        limits.basic.flags = _KILL_ON_JOB_CLOSE
        told = kernel.SetInformationJobObject(
            job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        )
        joined = kernel.AssignProcessToJobObject(job, handle(kernel.GetCurrentProcess()))
        service = kernel.OpenProcess(_SYNCHRONIZE, False, int(sys.argv[1]))
        if not (told and joined and service):
            sys.exit(f"the job object cannot be made: error {ctypes.get_last_error()}")
        agent = subprocess.Popen(sys.argv[2:], stdin=0, stdout=1, stderr=2)  # noqa: S603
        for descriptor in range(3):
            os.close(descriptor)
        # `agent` holds a handle to the process, so its number is not used again.
        waited = (handle * 2)(kernel.OpenProcess(_SYNCHRONIZE, False, agent.pid), service)
        kernel.WaitForMultipleObjects(2, waited, False, _INFINITE)
        code = agent.poll()
        os._exit(1 if code is None else code)


if __name__ == "__main__":
    main()
