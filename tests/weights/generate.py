#!/usr/bin/env python3
"""Writes the corpus of small checkpoints that tests/weights/main.rs reads.

    python tests/weights/generate.py            # needs torch, numpy, safetensors

Each good file NAME has its tensors, as PyTorch or NumPy read them, in `good/NAME.expected`:
lines `name dtype shape hex-bytes`. The files in `bad/` must be refused; `bad/REASONS` says what
the message must contain. Everything is drawn from a fixed seed, so a second run writes the same
tensors. Nothing in `bad/` is ever loaded here.
"""
import argparse, io, os, pickle, shutil, struct, sys, tarfile, zipfile
from collections import OrderedDict
from pathlib import Path
import numpy as np
import torch

HERE = Path(__file__).parent
GOOD, BAD = HERE / "good", HERE / "bad"
REASONS = []
NAMES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
    torch.bool: "BOOL", torch.complex64: "C64", torch.complex128: "C128", torch.complex32: "C32",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ", torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
}
NUMPY = {"b1": "BOOL", "f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "c16": "C128"}
NUMPY |= {f"{k}{n}": f"{k.upper()}{8 * n}" for k in "iu" for n in (1, 2, 4, 8)}


def line(name, value):
    if isinstance(value, np.ndarray):
        code = value.dtype.str[1:]
        plain = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
        dtype, shape, data = NUMPY[code], value.shape, plain.tobytes()
    else:
        value = value.detach()
        if value.is_complex():
            value = value.resolve_conj()
        value = value.resolve_neg().contiguous()
        dtype, shape = NAMES[value.dtype], tuple(value.shape)
        data = value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
    return f"{name} {dtype} {','.join(map(str, shape)) or '-'} {data.hex() or '-'}\n"


def expect(file, tensors):
    text = "".join(line(name, value) for name, value in tensors.items())
    (GOOD / f"{file}.expected").write_text(text)


def good(file, value, tensors, **options):
    torch.save(value, GOOD / file, **options)
    expect(file, tensors)


def both(file, value, tensors):
    """The ZIP of today and the stream of PyTorch 0.1.10 to 1.5."""
    good(f"{file}.pt", value, tensors)
    good(f"{file}-legacy.pth", value, tensors, _use_new_zipfile_serialization=False)


def rewrite(source, target, change, method=zipfile.ZIP_STORED, drop=()):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for info in old.infolist():
            if info.filename.split("/", 1)[-1] not in drop:
                new.writestr(info.filename, change(info.filename, old.read(info)))


def layouts():
    base = torch.arange(24, dtype=torch.float32) / 8
    tied = torch.randn(3, 4)
    return OrderedDict(
        plain=torch.randn(2, 3), scalar=torch.tensor(2.5), empty=torch.zeros(0, 3),
        tied_a=tied, tied_b=tied, row=tied[1], transposed=torch.randn(3, 5).t(),
        sliced=base[3:20:4], block=base.view(4, 6)[1:3, 2:5], expanded=torch.randn(3, 1).expand(3, 4),
        channels_last=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        permuted=torch.randn(2, 3, 4).permute(2, 0, 1), parameter=torch.nn.Parameter(torch.randn(4)),
        diagonal=torch.randn(4, 4).diagonal(), windows=torch.arange(8.0).unfold(0, 4, 2),
    )


def dtypes():
    result = OrderedDict()
    for dtype, name in NAMES.items():
        bits = torch.tensor([[0, 1, 2], [3, 60, 100]], dtype=torch.uint8)
        if dtype == torch.bool:
            value = bits % 2 == 1
        elif dtype == torch.complex32:
            value = torch.view_as_complex(torch.randn(2, 3, 2).half())
        elif dtype.is_complex:
            value = torch.randn(2, 3, dtype=dtype)
        elif dtype.itemsize == 1 and dtype.is_floating_point:
            value = bits.view(dtype)
        elif dtype.is_floating_point:
            value = torch.randn(2, 3).to(dtype)
        else:
            value = bits.to(dtype)
        result[name.lower()] = value
    return result


class Oldest:
    """The tar archive that torch 0.1.9 wrote: storages, tensors and pickle."""

    def __init__(self, tensors):
        self.tensors, self.storages, self.ids = tensors, {}, {}

    def member(self, archive, name, data):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))

    def write(self, path, protocol=2):
        storages, tensors = io.BytesIO(), io.BytesIO()
        roots, view_rows, rows = {}, [], []
        for index, value in enumerate(self.tensors.values()):
            storage = value.untyped_storage()
            key = roots.setdefault(storage.data_ptr(), (1000 + index, value))[0]
            rows.append((2000 + index, key, value))
        view_rows = [(5000, 1000, 2, 4)]
        pickle.dump(len(roots), storages, protocol)
        for key, value in roots.values():
            kind = StorageClass({torch.float32: "FloatStorage", torch.int64: "LongStorage"}[value.dtype])
            dump_with_class(storages, (key, "cpu", kind), protocol)
            data = torch.tensor([], dtype=value.dtype).set_(value.untyped_storage()).numpy()
            storages.write(struct.pack("<q", data.size) + data.tobytes())
        pickle.dump(view_rows, storages, protocol)
        rows.append((3000, 5000, VIEW))
        pickle.dump(len(rows), tensors, protocol)
        for key, storage, value in rows:
            kind = StorageClass("FloatTensor")
            dump_with_class(tensors, (key, storage, kind), protocol)
            sizes, strides = list(value.shape), list(value.stride())
            tensors.write(struct.pack("<ii", len(sizes), 0))
            tensors.write(struct.pack(f"<{2 * len(sizes) + 1}q", *sizes, *strides, value.storage_offset()))
        ids = {id(value): key for key, _, value in rows}

        class Pickler(pickle._Pickler):
            def persistent_id(self, value):
                return str(ids[id(value)]) if isinstance(value, torch.Tensor) else None

        out = io.BytesIO()
        state = OrderedDict(self.tensors, view=VIEW)
        Pickler(out, protocol).dump({"state_dict": state, "epoch": 7})
        with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
            for name, data in (("sys_info", pickle.dumps({"little_endian": True}, protocol)),
                               ("pickle", out.getvalue()), ("tensors", tensors.getvalue()),
                               ("storages", storages.getvalue())):
                self.member(archive, name, data)


VIEW = torch.zeros(2, 2)


class StorageClass:
    def __init__(self, name):
        self.name = name


def dump_with_class(file, value, protocol):
    class Pickler(pickle._Pickler):
        def save(self, obj, save_persistent_id=True):
            if isinstance(obj, StorageClass):
                self.write(b"ctorch\n" + obj.name.encode() + b"\n")
            else:
                super().save(obj, save_persistent_id)

    Pickler(file, protocol).dump(value)


def make_good():
    value = layouts()
    both("layouts", value, value)
    value = dtypes()
    good("dtypes.pt", value, value)
    old = OrderedDict((k, v) for k, v in value.items() if k in
                      ("f32", "f64", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool", "c64"))
    good("dtypes-legacy.pth", old, old, _use_new_zipfile_serialization=False)
    imaginary = torch.randn(3, dtype=torch.complex64)
    signs = {"conj": imaginary.conj(), "neg": torch._neg_view(torch.randn(3))}
    good("signs.pt", signs, signs)
    state = OrderedDict([("fc.weight", torch.randn(2, 3)), ("fc.bias", torch.randn(2))])
    for protocol in (2, 3, 4, 5):
        good(f"protocol{protocol}.pt", state, state, pickle_protocol=protocol)
        good(f"protocol{protocol}-legacy.pth", state, state, pickle_protocol=protocol,
             _use_new_zipfile_serialization=False)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.randn(4, 3)).sum().backward()
    optimiser.step()
    weights = module.state_dict()
    luggage = {"optimizer": optimiser.state_dict(), "epoch": 3, "best_prec1": torch.tensor(91.5),
               "args": argparse.Namespace(lr=0.1, arch="tiny"), "loss": np.float64(0.25)}
    for key in ("state_dict", "model", "model_state_dict", "net", "ema"):
        both(f"wrapped-{key}", {key: weights, **luggage}, weights)
    both("wrapped-twice", {"checkpoint": {"state_dict": weights}, "epoch": 1}, weights)
    both("model-and-ema", {"model": weights, "ema": {k: v + 1 for k, v in weights.items()}}, weights)
    adam = optimiser.state_dict()
    flat = {f"state.{i}.{k}": v for i, s in adam["state"].items() for k, v in s.items()}
    both("optimiser", adam, flat)
    nested = {"encoder": {"w": torch.randn(2), "layers": [torch.randn(1), (torch.randn(2), 3)]},
              "decoder": {0: torch.randn(3)}}
    both("nested", nested, {"encoder.w": nested["encoder"]["w"],
         "encoder.layers.0": nested["encoder"]["layers"][0],
         "encoder.layers.1.0": nested["encoder"]["layers"][1][0], "decoder.0": nested["decoder"][0]})
    both("list", [state["fc.weight"], state["fc.bias"]], {"0": state["fc.weight"], "1": state["fc.bias"]})
    both("single", state["fc.bias"], {"tensor": state["fc.bias"]})
    prefixed = OrderedDict((f"module._orig_mod.{k}", v) for k, v in state.items())
    both("prefixed", {"state_dict": prefixed}, prefixed)
    attribute = torch.nn.Parameter(torch.randn(2))
    attribute.tag = "kept"
    both("parameter-state", {"w": attribute}, {"w": attribute})
    deflate(state)
    big_endian(value)
    numpy_files(state)
    script(weights, module)
    Oldest(OrderedDict(weight=(w := torch.randn(4, 3)), transposed=w.t(), counter=torch.tensor([3]))) \
        .write(GOOD / "oldest.tar")
    weight = w.reshape(-1)
    expect("oldest.tar", OrderedDict(weight=w, transposed=w.t(), counter=torch.tensor([3]),
                                     view=weight[2:6].view(2, 2)))
    shards(state)


def deflate(state):
    value = layouts()
    torch.save(value, GOOD / "tmp.pt")
    rewrite(GOOD / "tmp.pt", GOOD / "deflated.pt", lambda _, data: data, zipfile.ZIP_DEFLATED)
    expect("deflated.pt", value)
    rewrite(GOOD / "tmp.pt", GOOD / "no-byteorder.pt", lambda _, data: data,
            drop=("byteorder", ".format_version", ".storage_alignment"))
    expect("no-byteorder.pt", value)
    (GOOD / "tmp.pt").unlink()


def big_endian(value):
    sizes = {}
    torch.save(value, GOOD / "tmp.pt")
    for index, tensor in enumerate(value.values()):
        sizes[str(index)] = tensor.dtype.itemsize // (2 if tensor.is_complex() else 1)

    def change(name, data):
        if name.endswith("/byteorder"):
            return b"big"
        folder, key = os.path.split(name)
        if not folder.endswith("/data"):
            return data
        width = sizes[key]
        return b"".join(data[i:i + width][::-1] for i in range(0, len(data), width))

    rewrite(GOOD / "tmp.pt", GOOD / "big-endian.pt", change)
    expect("big-endian.pt", value)
    (GOOD / "tmp.pt").unlink()


def numpy_files(state):
    generator = np.random.default_rng(5)
    arrays = {code: generator.integers(0, 2, (2, 3)).astype(code) for code in NUMPY}
    arrays["fortran"] = np.asfortranarray(generator.standard_normal((3, 4)))
    arrays["big"] = generator.standard_normal((2, 2)).astype(">f4")
    arrays["scalar"] = np.array(3.5)
    arrays["empty"] = np.zeros((0, 2), "f4")
    np.savez(GOOD / "arrays.npz", **arrays)
    np.savez_compressed(GOOD / "deflated.npz", **arrays)
    expect("arrays.npz", arrays)
    expect("deflated.npz", arrays)
    for version in ((1, 0), (2, 0), (3, 0)):
        file = f"version{version[0]}.npy"
        with open(GOOD / file, "wb") as out:
            np.lib.format.write_array(out, arrays["fortran"], version)
        expect(file, {f"version{version[0]}": arrays["fortran"]})
    np.save(GOOD / "big.npy", arrays["big"])
    expect("big.npy", {"big": arrays["big"]})
    for protocol in range(6):
        file = f"numpy-protocol{protocol}.pkl"
        value = {"model": {"w": arrays["f4"], "f": arrays["fortran"], "b": arrays["big"]}, "epoch": 4,
                 "name": "café\n'quoted'"}
        (GOOD / file).write_bytes(pickle.dumps(value, protocol))
        expect(file, value["model"])
    mixed = {"w": state["fc.weight"], "mean": arrays["f8"]}
    both("with-numpy", mixed, mixed)


def script(weights, module):
    module.eval()
    torch.jit.save(torch.jit.script(module), GOOD / "scripted.pt")
    expect("scripted.pt", weights)
    torch.jit.save(torch.jit.trace(module, torch.randn(1, 3)), GOOD / "traced.pt")
    expect("traced.pt", weights)


def shards(state):
    import json
    from safetensors.torch import save_file
    names = list(state)
    for kind, write in (("pytorch_model-{}.bin", torch.save), ("model-{}.safetensors", save_file)):
        folder = GOOD / f"sharded-{kind.split('.')[-1]}"
        folder.mkdir()
        for index, name in enumerate(names):
            write({name: state[name]}, folder / kind.format(index))
        index = {"metadata": {"total_size": 32}, "weight_map": {n: kind.format(i) for i, n in enumerate(names)}}
        stem = "pytorch_model.bin" if "bin" in kind else "model.safetensors"
        (folder / f"{stem}.index.json").write_text(json.dumps(index))
        expect(folder.name, state)
    save_file(dict(state), GOOD / "plain.safetensors", metadata={"format": "pt"})
    expect("plain.safetensors", state)


def bad(file, data, *contains):
    (BAD / file).write_bytes(data)
    REASONS.append(f"{file}\t" + "\t".join(contains) + "\n")


def saved(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def safetensors(header, body=b"", length=None):
    text = header.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


class System:
    def __reduce__(self):
        return os.system, ("touch /tmp/taper-was-executed",)


def make_bad():
    for protocol in range(6):
        bad(f"system{protocol}.pkl", pickle.dumps({"w": System()}, protocol), "posix.system", "position")
    bad("system.pt", saved({"w": System()}), "posix.system", "position")
    bad("system-legacy.pth", saved({"w": System()}, _use_new_zipfile_serialization=False), "posix.system")
    bad("eval.pkl", b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval", "position 0")
    bad("getattr.pkl", b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr")
    bad("inst.pkl", b"(S'ls'\nios\nsystem\n.", "os.system")
    bad("extension.pkl", b"\x80\x02\x82\x01.", "extension code")
    bad("opcode.pkl", b"\x80\x02\xff.", "0xff")
    bad("module.pt", saved(torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear", "state_dict")
    sparse = torch.eye(3).to_sparse()
    bad("sparse.pt", saved({"layer": {"w": sparse}}), "layer.w", "sparse")
    bad("sparse-csr.pt", saved({"w": torch.eye(3).to_sparse_csr()}), "tensor w", "sparse")
    bad("quantised.pt", saved({"q": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8)}), "tensor q", "quantised")
    bad("quantised-legacy.pth", saved({"a": torch.zeros(2), "q": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8)},
        _use_new_zipfile_serialization=False), "tensor q", "quantised")
    bad("nested.pt", saved({"n": torch.nested.nested_tensor([torch.randn(2), torch.randn(3)])}), "tensor n", "nested")
    bad("meta.pt", saved({"m": torch.empty(3, device="meta")}), "tensor m", "meta")
    bad("objects.npy", npy(np.array([None, 1], dtype=object)), "Python objects")
    bad("text.npy", npy(np.array(["a"])), "text")
    bad("fields.npy", npy(np.zeros(2, [("a", "f4")])), "named fields")
    bad("deep.pkl", b"\x80\x02" + b"]" * 2000 + b"a" * 1999 + b".", "depth")
    levels = b"\x80\x02" + b"".join(b"(" + b"h" + bytes([i - 1]) * 1 + b"h" + bytes([i - 1]) + b"l" + b"q" + bytes([i]) + b"0"
                                   if i else b"]q\x00K\x01a0" for i in range(40)) + b"h\x27."
    bad("memo-bomb.pkl", levels, "pickle_bytes")
    bad("long-string.pkl", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.", "truncated")
    bad("protocol9.pkl", b"\x80\x09N.", "")
    bad("no-memo.pkl", b"\x80\x02h\x05.", "memo 5")
    bad("trailing.pkl", pickle.dumps({"w": np.zeros(2)}, 2) + b"xx", "follow the end")
    bad("no-tensor.pkl", pickle.dumps({"epoch": 3}, 2), "holds no tensor")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for ending in ("pth", "safetensors", "npz"):
        bad(f"pointer.{ending}", pointer, "Git LFS pointer")
        bad(f"page.{ending}", b"<!DOCTYPE html><html><body>Not found</body></html>", "HTML")
    bad("empty.pt", b"", "empty")
    bad("text.pt", b"just some words that are no checkpoint at all", "no kind of checkpoint")
    f32 = lambda start, end, shape="[1]": f'{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'
    bad("huge-header.safetensors", safetensors('{"a":1}', length=1 << 63), "header")
    bad("overlap.safetensors", safetensors(f'{{"a":{f32(0, 4)},"b":{f32(0, 4)}}}', b"1234"), "overlap")
    bad("hole.safetensors", safetensors(f'{{"a":{f32(0, 4)},"b":{f32(8, 12)}}}', b"1" * 12), "hole")
    bad("outside.safetensors", safetensors(f'{{"a":{f32(0, 4)}}}', b"12"), "outside")
    bad("reversed.safetensors", safetensors(f'{{"a":{f32(4, 0)}}}', b"1234"), "a")
    bad("rest.safetensors", safetensors(f'{{"a":{f32(0, 4)}}}', b"12345"), "5")
    bad("twice.safetensors", safetensors(f'{{"a":{f32(0, 4)},"a":{f32(4, 8)}}}', b"1" * 8), "a is there twice")
    bad("overflow.safetensors", safetensors(f'{{"a":{f32(0, 4, "[4294967296,4294967296,4]")}}}', b"1234"), "shape")
    bad("dtype.safetensors", safetensors('{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', b"1"), "F4")
    bad("nested.safetensors", safetensors('{"a":' + "[" * 5000), "header")
    bad("negative.safetensors", safetensors('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"1234"), "header")
    archives()


def npy(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def archives():
    import warnings
    warnings.simplefilter("ignore")
    array = npy(np.zeros(2))
    bad("traversal.npz", zipped([("../w.npy", array)]), "leaves the archive")
    bad("absolute.npz", zipped([("/etc/w.npy", array)]), "leaves the archive")
    bad("twice.npz", zipped([("w.npy", array), ("w.npy", array)]), "same name")
    bad("foreign.npz", zipped([("readme.txt", b"hello")]), "readme.txt")
    state = saved({"w": torch.arange(64, dtype=torch.float32)})
    at = state.index(torch.arange(64, dtype=torch.float32).numpy().tobytes())
    bad("flipped.pt", state[:at + 5] + bytes([state[at + 5] ^ 1]) + state[at + 6:], "CRC-32")
    bad("missing-storage.pt", rezip(state, lambda n, d: d, ("data/0",)), "data/0")
    bad("short-storage.pt", rezip(state, lambda n, d: d[:100] if n.endswith("/0") else d), "data/0")
    bad("two-roots.pt", zipped([("a/data.pkl", b"N."), ("b/data.pkl", b"N.")]), "data.pkl")
    bad("byteorder.pt", rezip(state, lambda n, d: b"middle" if n.endswith("byteorder") else d), "middle")
    stride = saved({"w": torch.zeros(1).expand(1 << 30, 1 << 10)})
    bad("stride-bomb.pt", stride, "expansion")
    legacy = saved({"w": torch.arange(64.0)}, _use_new_zipfile_serialization=False)
    bad("cut-legacy.pth", legacy[:-3], "truncated")


def rezip(data, change, drop=()):
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = [(i.filename, change(i.filename, old.read(i))) for i in old.infolist()
                   if i.filename.split("/", 1)[-1] not in drop]
    return zipped(members)


if __name__ == "__main__":
    torch.manual_seed(5)
    for folder in (GOOD, BAD):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    make_good()
    make_bad()
    (BAD / "REASONS").write_text("".join(REASONS))
