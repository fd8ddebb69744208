"""Times one training step in PyTorch on the CPU; prints one JSON object, as `taper bench step` does.

    python step.py resnet20 --batch 64 --threads 2 [--channels-last] [--seconds 3] [--data-shape C,H,W]

With `malloc_peak.so` preloaded (`malloc_peak.c`) it reports how many bytes the step holds at most.
"""

import argparse
import json
import time

import torch

from memory import Meter
from networks import NETWORKS, data_shape, loss


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=sorted(NETWORKS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--data-shape")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--channels-last", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    meter = Meter()
    network = NETWORKS[options.model]().train()
    shape = map(int, options.data_shape.split(",")) if options.data_shape else data_shape(options.model)
    images = torch.randn(options.batch, *shape)
    if options.channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss(options.model, network, images).backward()
        optimiser.step()

    for _ in range(3):
        step()
    times, begun = [], time.perf_counter()
    while len(times) < 10 or time.perf_counter() - begun < options.seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    times.sort()
    print(
        json.dumps(
            {
                "model": options.model,
                "batch": options.batch,
                "threads": options.threads,
                "parameters": sum(p.numel() for p in network.parameters()),
                "steps": len(times),
                "median_s": times[len(times) // 2],
                "min_s": times[0],
                **meter.report(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
