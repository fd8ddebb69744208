#!/usr/bin/env python3
"""Makes the embedded digits from the scikit-learn wheel: data/digits-{images-idx3,labels-idx1}-ubyte.gz.

usage: make_digits.py [WHEEL]        (needs pip; without WHEEL, `pip download scikit-learn` fetches one)

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0: its 1,797 test images, 8x8 pixels 0..16,
as scikit-learn distributes them in sklearn/datasets/data/digits.csv.gz. Pixels, labels and order are
unchanged; only the container differs. The output is the same byte for byte on every run.
"""
import gzip, hashlib, io, pathlib, struct, subprocess, sys, tempfile, zipfile

MEMBER = "sklearn/datasets/data/digits.csv.gz"
MEMBER_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
CLASS_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
TARGET = pathlib.Path(__file__).resolve().parent.parent / "data"


def wheel_bytes():
    if len(sys.argv) == 2:
        return pathlib.Path(sys.argv[1]).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", folder, "scikit-learn"]
        subprocess.run(command, check=True)
        return next(pathlib.Path(folder).glob("*.whl")).read_bytes()


def write(name, content):
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as stream:
        stream.write(content)
    (TARGET / name).write_bytes(packed.getvalue())
    print(f"{name}: {len(packed.getvalue())} bytes")


if len(sys.argv) > 2:
    sys.exit(__doc__)
member = zipfile.ZipFile(io.BytesIO(wheel_bytes())).read(MEMBER)
found = hashlib.sha256(member).hexdigest()
if found != MEMBER_SHA256:
    sys.exit(f"{MEMBER}: SHA-256 {found}, expected {MEMBER_SHA256}")
rows = [[int(float(cell)) for cell in line.split(",")] for line in gzip.decompress(member).decode().split()]
pixels = bytes(value for row in rows for value in row[:64])
labels = bytes(row[64] for row in rows)
if len(rows) != 1797 or len(pixels) != 1797 * 64 or max(pixels) != 16:
    sys.exit(f"found {len(rows)} images of {len(pixels) / max(1, len(rows))} pixels up to {max(pixels)}, expected 1797 of 64 up to 16")
if [labels.count(label) for label in range(10)] != CLASS_COUNTS:
    sys.exit("images per class differ from the published counts")
TARGET.mkdir(exist_ok=True)
write("digits-images-idx3-ubyte.gz", struct.pack(">IIII", 0x0803, 1797, 8, 8) + pixels)
write("digits-labels-idx1-ubyte.gz", struct.pack(">II", 0x0801, 1797) + labels)
