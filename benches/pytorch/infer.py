"""Times inference in PyTorch or ONNX Runtime on the CPU; prints one JSON object, as `taper bench infer` does.

    python infer.py cifar_mobilenetv2 --batch 1 --data-shape 3,224,224 --engine pytorch|nhwc|compile|onnx

`onnx` exports the network (batch norms folded by the runtime) to a temporary file; it needs onnx and onnxruntime.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from memory import Meter
from networks import NETWORKS, data_shape


def onnx_session(network, images, threads):
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(network, (images,), str(path), input_names=["x"], opset_version=17, dynamo=False)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    array = images.numpy()
    return lambda: session.run(None, {"x": array})[0], f"onnxruntime {onnxruntime.__version__}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=sorted(NETWORKS))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--data-shape")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--engine", choices=["pytorch", "nhwc", "compile", "onnx"], default="pytorch")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    meter = Meter()
    network = NETWORKS[options.model]().eval()
    shape = map(int, options.data_shape.split(",")) if options.data_shape else data_shape(options.model)
    images = torch.randn(options.batch, *shape)
    version = f"torch {torch.__version__}"
    if options.engine == "onnx":
        call, version = onnx_session(network, images, options.threads)
        with torch.inference_mode():
            difference = (torch.from_numpy(call()) - network(images)).abs().max()
            assert difference < 1e-3 * network(images).abs().max(), difference
    else:
        if options.engine == "nhwc":
            network, images = (it.to(memory_format=torch.channels_last) for it in (network, images))
        if options.engine == "compile":
            network = torch.compile(network, dynamic=False)
        call = lambda: network(images)

    times = []
    with torch.inference_mode():
        for _ in range(3):
            call()
        begun = time.perf_counter()
        while len(times) < 10 or time.perf_counter() - begun < options.seconds:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    times.sort()
    print(
        json.dumps(
            {
                "model": options.model,
                "engine": options.engine,
                "batch": options.batch,
                "threads": options.threads,
                "parameters": sum(p.numel() for p in NETWORKS[options.model]().parameters()),
                "steps": len(times),
                "median_s": times[len(times) // 2],
                "min_s": times[0],
                **meter.report(),
                "version": version,
            }
        )
    )


if __name__ == "__main__":
    main()
