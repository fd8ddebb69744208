"""Writes optimizer_golden.json: parameters after each step of PyTorch's optimisers, in f64.

Usage: python optimizer_golden.py   (needs torch; made with torch 2.11)
"""
import json
import pathlib

import torch

STEPS = 5


def gradient(step, parameter):
    """Depends on the parameter, so that every mistake grows; recomputed by the test."""
    index = torch.arange(parameter.numel(), dtype=torch.float64)
    return torch.sin(index + step) + 0.5 * parameter


def run(name, make, settings):
    parameter = torch.tensor([0.5, -1.25, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = make([parameter])
    rows = []
    for step in range(STEPS):
        parameter.grad = gradient(step, parameter.detach())
        optimizer.step()
        rows.append(parameter.detach().tolist())
    return {"name": name, "optimizer": settings, "parameters": rows}


def sgd(**kwargs):
    return lambda p: torch.optim.SGD(p, **kwargs)


def adamw(**kwargs):
    return lambda p: torch.optim.AdamW(p, **kwargs)


cases = [
    run("plain", sgd(lr=0.1),
        {"name": "sgd", "learning_rate": 0.1, "momentum": 0.0}),
    run("momentum and decay", sgd(lr=0.1, momentum=0.9, weight_decay=0.05),
        {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    run("nesterov", sgd(lr=0.1, momentum=0.8, weight_decay=0.01, nesterov=True),
        {"name": "sgd", "learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}),
    run("adamw", adamw(lr=0.01),
        {"name": "adamw", "learning_rate": 0.01}),
    run("adamw, all settings", adamw(lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2),
        {"name": "adamw", "learning_rate": 0.05, "betas": [0.8, 0.95], "epsilon": 1e-6, "weight_decay": 0.2}),
]
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(cases, indent=1) + "\n")
