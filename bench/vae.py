"""Times our autoencoder beside diffusers' Wan and LTX ones: encode, decode and a training step.

    python bench/vae.py --out bench/results/vae.json
    python bench/vae.py --height 32 --width 32 --frames 5 --rounds 2 --out vae.json          # does it run?

All models are in one process, with random weights, the same number of parameters (within 2 %), the same latent
grid (4×8×8 pixels a latent), type and input. Every round times each of them once, in an order that rotates; a
ratio is the median over rounds of ours / theirs in that round, so what slows the machine slows both. A second
instance of ours, timed in the same way, shows how much of a ratio is noise: it should give 1.00 ± 0.02.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from kinema import AutoencoderKLKinema

LATENT_CHANNELS = 16
PARAMETER_TOLERANCE = 0.02
SELF_CHECK_TOLERANCE = 0.02


def wan(base: int, decoder_base: int) -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=base, decoder_base_dim=decoder_base, z_dim=LATENT_CHANNELS)


def ltx(width: int, decoder_width: int) -> AutoencoderKLLTXVideo:
    """LTX's layers at strides 4×8×8 (its own checkpoint has 8×32×32), causal both ways."""
    return AutoencoderKLLTXVideo(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(width, 2 * width),
        down_block_types=("LTXVideoDownBlock3D",) * 2,
        decoder_block_out_channels=(decoder_width, 2 * decoder_width),
        layers_per_block=(2, 2, 2),
        decoder_layers_per_block=(2, 2, 2),
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        upsample_residual=(False,) * 2,
        upsample_factor=(1, 1),
        downsample_type=("conv", "conv"),
        patch_size=2,
        decoder_causal=True,
    )


def fitted(build: Callable[[int, int], nn.Module], target: int) -> nn.Module:
    """The model whose encoder and decoder widths bring it closest to the wanted number of parameters."""

    def count(widths: tuple[int, int]) -> int:
        with torch.device("meta"):
            return num_parameters(build(*widths))

    equal = min(range(4, 129, 2), key=lambda width: abs(count((width, width)) - target))
    near = [(a, b) for a in range(equal - 3, equal + 4) for b in range(equal - 3, equal + 4) if min(a, b) > 3]
    return build(*min(near, key=lambda widths: abs(count(widths) - target)))


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def operations(model: Any, pixels: torch.Tensor) -> dict[str, Callable[[], None]]:
    """What is timed of one model, each as a function without arguments."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    with torch.no_grad():
        latents = model.encode(pixels).latent_dist.mode()

    @torch.no_grad()
    def encode() -> None:
        model.encode(pixels)

    @torch.no_grad()
    def decode() -> None:
        model.decode(latents)

    def train_step() -> None:
        z = model.encode(pixels).latent_dist.mode()
        (model.decode(z).sample - pixels).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return {"encode": encode, "decode": decode, "train_step": train_step}


def seconds(function: Callable[[], None], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def flops(function: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def where_time_goes(function: Callable[[], None], device: torch.device) -> dict[str, float]:
    """The share of each operator in our time, the largest first."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=activities, acc_events=True) as profiler:
        function()
        synchronize(device)
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    spent = {event.key: getattr(event, key) for event in profiler.key_averages()}
    total = sum(spent.values()) or 1
    largest = sorted(spent.items(), key=lambda pair: -pair[1])[:8]
    return {name: round(value / total, 3) for name, value in largest}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    torch.manual_seed(0)
    ours = AutoencoderKLKinema(latent_channels=LATENT_CHANNELS)
    target = num_parameters(ours)
    models: dict[str, Any] = {
        "kinema": ours,
        "kinema again": AutoencoderKLKinema(latent_channels=LATENT_CHANNELS),
        "wan": fitted(wan, target),
        "ltx": fitted(ltx, target),
    }
    for name, model in models.items():
        model.to(device, dtype)
        size = num_parameters(model)
        if abs(size / target - 1) > PARAMETER_TOLERANCE:
            raise SystemExit(f"{name} has {size} parameters and ours {target}: more than 2 % apart")
    pixels = torch.rand(args.batch, 3, args.frames, args.height, args.width, device=device, dtype=dtype) * 2 - 1
    work = {name: operations(model, pixels) for name, model in models.items()}
    grids = {tuple(model.encode(pixels).latent_dist.mode().shape) for model in models.values()}
    if len(grids) != 1:
        raise SystemExit(f"the models make different latents of one clip: {grids}")

    report: dict[str, Any] = {
        "parameters": {name: num_parameters(model) for name, model in models.items()},
        "latents": list(grids.pop()),
        "operations": {},
    }
    names = list(models)
    for operation in ("encode", "decode", "train_step"):
        counts = {name: flops(work[name][operation]) for name in names}  # also warms up
        rounds: list[dict[str, float]] = []
        for number in range(args.rounds):
            order = names[number % len(names) :] + names[: number % len(names)]
            rounds.append({name: seconds(work[name][operation], device) for name in order})
        report["operations"][operation] = {
            "gflop": {name: round(counts[name] / 1e9, 3) for name in names},
            "milliseconds": {name: round(1e3 * statistics.median(r[name] for r in rounds), 3) for name in names},
            "ours_over": {
                name: round(statistics.median(r["kinema"] / r[name] for r in rounds), 4) for name in names[1:]
            },
            "where_our_time_goes": where_time_goes(work["kinema"][operation], device),
        }
    worst = max(abs(values["ours_over"]["kinema again"] - 1) for values in report["operations"].values())
    report["self_check"] = {"largest_deviation": round(worst, 4), "passed": worst <= SELF_CHECK_TOLERANCE}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Time our autoencoder beside diffusers' Wan and LTX ones.")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; default: torch's own choice")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, default=Path("bench/results/vae.json"))
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = {key: value for key, value in vars(args).items() if key != "out"}
    device = (
        torch.cuda.get_device_name()
        if args.device.startswith("cuda")
        else platform.processor() or platform.machine()
    )
    versions = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "python": platform.python_version(),
    }
    machine = {"device": device, "threads": torch.get_num_threads()}
    report = {"settings": settings, "machine": machine, "versions": versions} | measure(args)

    print(f"parameters: {report['parameters']}; latents {report['latents']}")
    for operation, values in report["operations"].items():
        for name in report["parameters"]:
            ratio = values["ours_over"].get(name)
            work = f"{values['gflop'][name]:9.2f} GFLOP {values['milliseconds'][name]:9.1f} ms"
            print(f"{operation:11} {name:13} {work}" + (f"   ours / this {ratio:.3f}" if ratio else ""))
        print(f"{'':11} our time: {values['where_our_time_goes']}")
    print(f"self-check: {report['self_check']}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
