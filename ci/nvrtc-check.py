#!/usr/bin/env python3
"""Compiles every kernel of kernels/src/**/*.cu to machine code with NVRTC: no GPU, no driver, no nvcc.

Prints registers, shared memory and spills of each kernel; a compile error or a spill fails.
Needs the wheels of ci/nvrtc-requirements.txt.

    python3 ci/nvrtc-check.py [--arch sm_80 --arch sm_90] [FILTER]
"""

import argparse
import ctypes
import pathlib
import re
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "kernels" / "src"


def toolkit() -> pathlib.Path:
    """The folder that the wheels unpack into."""
    packages = pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    for folder in sorted(packages.glob("cu*"), reverse=True):
        if list(folder.glob("lib/libnvrtc.so.*")):
            return folder
    sys.exit(f"no NVRTC under {packages}: pip install -r ci/nvrtc-requirements.txt")


def load(folder: pathlib.Path) -> ctypes.CDLL:
    libraries = [path for path in folder.glob("lib/libnvrtc.so.*") if path.suffix[1:].isdigit()]
    # NVRTC opens its builtins by name: they must be loaded already, or on the search path.
    for builtins in folder.glob("lib/libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins))
    library = ctypes.CDLL(str(libraries[0]))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def text(function, size_function, program) -> str:
    size = ctypes.c_size_t()
    size_function(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    function(program, buffer)
    return buffer.value.decode(errors="replace")


def compile_source(library, source: pathlib.Path, arch: str, headers: pathlib.Path) -> tuple[bool, str]:
    options = [f"-arch={arch}", "-std=c++17", f"-I{SOURCES / 'cuda'}", f"-I{headers}", "--ptxas-options=-v"]
    encoded = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(
        ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None
    )
    status = library.nvrtcCompileProgram(program, len(options), encoded)
    log = text(library.nvrtcGetProgramLog, library.nvrtcGetProgramLogSize, program)
    size = ctypes.c_size_t()
    made = status == 0 and library.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0 and size.value > 0
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return made, log


KERNEL = re.compile(
    r"Function properties for (?P<name>\w+)\s*\n"
    r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.S,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arch", action="append", help="default: sm_80 and sm_90")
    parser.add_argument("filter", nargs="?", default="", help="only sources whose path contains this")
    arguments = parser.parse_args()
    folder = toolkit()
    library = load(folder)
    sources = [path for path in sorted(SOURCES.rglob("*.cu")) if arguments.filter in str(path)]
    failures = 0
    print(f"{'kernel':44} {'arch':6} {'registers':>9} {'shared':>8} {'stack':>6} {'spills':>7}")
    for source in sources:
        for arch in arguments.arch or ["sm_80", "sm_90"]:
            made, log = compile_source(library, source, arch, folder / "include")
            found = list(KERNEL.finditer(log))
            if not made or not found:
                failures += 1
                print(f"{source.relative_to(ROOT)} ({arch}) does not compile:\n{log}")
                continue
            if "warning" in log:
                print(log)
            for kernel in found:
                shared = re.search(r"(\d+) bytes smem", kernel["rest"])
                spills = int(kernel["stores"]) + int(kernel["loads"])
                failures += spills > 0
                print(
                    f"{kernel['name']:44} {arch:6} {kernel['registers']:>9} "
                    f"{shared[1] if shared else 0:>8} {kernel['stack']:>6} {spills:>7}"
                    + ("  SPILLS" if spills else "")
                )
    if not sources:
        sys.exit(f"no .cu under {SOURCES} matches {arguments.filter!r}")
    print(f"{len(sources)} sources, {failures} failures")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
