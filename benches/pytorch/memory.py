"""What a process holds, on Linux: resident pages, and bytes from malloc where `malloc_peak.so` is preloaded."""

import ctypes


def status(field):
    """`VmRSS` (now) or `VmHWM` (the most so far) in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Meter:
    """From now on: how much more the process comes to hold."""

    def __init__(self):
        library = ctypes.CDLL(None)
        self.counted = hasattr(library, "malloc_peak_bytes")
        if self.counted:
            for function in (library.malloc_live_bytes, library.malloc_peak_bytes):
                function.restype = ctypes.c_size_t
            library.malloc_reset_peak()
            self.live = library.malloc_live_bytes()
        self.library, self.resident = library, status("VmRSS")

    def report(self):
        """As `taper bench step` reports: `allocated_peak_bytes` and `resident_growth_bytes` leave out what was there before."""
        found = {"peak_bytes": status("VmHWM"), "resident_growth_bytes": max(0, status("VmHWM") - self.resident)}
        if self.counted:
            found["allocated_peak_bytes"] = self.library.malloc_peak_bytes() - self.live
        return found
