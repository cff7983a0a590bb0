"""Times our denoiser beside diffusers' LTX and Wan ones: forward and training step.

    python bench/dit.py --out bench/results/dit.json
    python bench/dit.py --layers 4 --text-tokens 8 --frames 2 --height 4 --width 4 --rounds 2 --out dit.json  # try
    python bench/dit.py --device cuda --dtype bfloat16 --layers 24 --heads 12 --head-dim 128 \
        --frames 9 --height 60 --width 60 --batch 1 --compile --out bench/results/dit-1b.json

All models are in one process, with random weights, the same depth, width and heads, the same parameters and the
same operations (within 2 %, or the run stops; counted before anything is compiled), tokens, type and batch.
"floor" does nothing but the matrix products and attentions of one of these models: no norm, no modulation, no
activation. Every round times each of them once, in an order that rotates; a ratio is the median over rounds of
ours / theirs in that round, so what slows the machine slows both. A second instance of ours shows how much of a
ratio is noise: it should give 1.00 ± 0.02. If it does not, the report is written all the same and the exit status
is 1.

On a CPU with one thread the clock is the process's own time, which other programs on the machine do not lengthen.
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
import torch.nn.functional as F
from diffusers.models.transformers.transformer_ltx import LTXVideoTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from kinema import KinemaTransformer3DModel

CHANNELS = 16  # of the latents
PATCH = 2  # rows and columns of a token
TOLERANCE = 0.02  # of parameters, operations and the self-check


class Floor(nn.Module):
    """The matrix products and attentions of one forward, and nothing else."""

    def __init__(self, layers: int, heads: int, head_dim: int, text_dim: int):
        super().__init__()
        dim, patch = heads * head_dim, CHANNELS * PATCH**2
        self.heads = heads
        self.proj_in = nn.Linear(patch, dim, bias=False)
        self.text = nn.Linear(text_dim, dim, bias=False)
        self.time = nn.ModuleList(
            [nn.Linear(a, b, bias=False) for a, b in ((256, dim), (dim, dim), (dim, 6 * dim))]
        )
        self.blocks: Any = nn.ModuleList(
            nn.ModuleList(
                [nn.Linear(dim, dim, bias=False) for _ in range(8)]
                + [nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)]
            )
            for _ in range(layers)
        )
        self.proj_out = nn.Linear(dim, patch, bias=False)

    def attend(self, layers: Any, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, states in zip(layers[:3], (x, source, source))
        )
        return layers[3](F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))

    def forward(self, patches: torch.Tensor, times: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        for layer in self.time:
            times = layer(times)
        x, text = self.proj_in(patches), self.text(text)
        for block in self.blocks:
            x = self.attend(block[:4], x, x)
            x = self.attend(block[4:8], x, text)
            x = block[9](block[8](x))
        return self.proj_out(x)


def build(args: argparse.Namespace) -> dict[str, tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]]:
    """Every model with a function that runs it on the common input."""
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    layers, heads, head_dim, text_dim = args.layers, args.heads, args.head_dim, args.text_dim
    batch, frames, rows, columns = args.batch, args.frames, args.height, args.width
    dim, patch = heads * head_dim, CHANNELS * PATCH**2
    tokens = frames * (rows // PATCH) * (columns // PATCH)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device, dtype=dtype)

    latents, patches = random(batch, CHANNELS, frames, rows, columns), random(batch, tokens, patch)
    text = random(batch, args.text_tokens, text_dim)  # ours adds its null token to one fewer
    times = random(batch, 256)
    timestep = torch.full((batch,), 500.0, device=device)
    per_frame = timestep[:, None].expand(batch, frames)

    def ours() -> nn.Module:
        model = KinemaTransformer3DModel(
            in_channels=CHANNELS,
            cross_attention_dim=text_dim,
            num_layers=layers,
            num_attention_heads=heads,
            attention_head_dim=head_dim,
            patch_size=(1, PATCH, PATCH),
            mlp_ratio=8 / 3,  # SwiGLU's three matrices then have the size of the others' two
        )
        for parameter in model.parameters():  # zeros are as fast as other numbers, but let us not rely on it
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)
        return model

    ltx = LTXVideoTransformer3DModel(
        in_channels=patch,
        out_channels=patch,
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        cross_attention_dim=dim,
        num_layers=layers,
        caption_channels=text_dim,
    )
    wan = WanTransformer3DModel(
        patch_size=(1, PATCH, PATCH),
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=text_dim,
        ffn_dim=4 * dim,
        num_layers=layers,
    )
    size = {
        "num_frames": frames,
        "height": rows // PATCH,
        "width": columns // PATCH,
        "encoder_attention_mask": None,
    }
    models: dict[str, tuple[nn.Module, Callable[[Any], torch.Tensor]]] = {
        "kinema": (ours(), lambda m: m(latents, timestep, text[:, 1:], return_dict=False)[0]),
        "kinema again": (ours(), lambda m: m(latents, timestep, text[:, 1:], return_dict=False)[0]),
        "kinema per frame": (ours(), lambda m: m(latents, per_frame, text[:, 1:], return_dict=False)[0]),
        "ltx": (ltx, lambda m: m(patches, text, timestep[:, None], **size, return_dict=False)[0]),
        "wan": (wan, lambda m: m(latents, timestep, text, return_dict=False)[0]),
        "floor": (Floor(layers, heads, head_dim, text_dim), lambda m: m(patches, times, text)),
    }
    for model, _ in models.values():
        nn.Module.to(model, device, dtype)
    return models


def operations(model: nn.Module, run: Callable[[Any], torch.Tensor]) -> dict[str, Callable[[], None]]:
    """What is timed of one model, each as a function without arguments."""

    @torch.no_grad()
    def forward() -> None:
        run(model)

    def train_step() -> None:
        run(model).float().square().mean().backward()
        for parameter in model.parameters():
            parameter.grad = None

    return {"forward": forward, "train_step": train_step}


def seconds(function: Callable[[], None], device: torch.device) -> float:
    own_time = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if own_time else time.perf_counter
    synchronize(device)
    start = clock()
    function()
    synchronize(device)
    return clock() - start


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
    largest = sorted(spent.items(), key=lambda pair: -pair[1])[:10]
    return {name: round(value / total, 3) for name, value in largest}


def check_equal_work(values: dict[str, int], what: str, exempt: str = "") -> None:
    """Stop unless all values are within 2 % of ours."""
    for name, value in values.items():
        if name != exempt and abs(value / values["kinema"] - 1) > TOLERANCE:
            raise SystemExit(
                f"{name} has {value} {what} and ours {values['kinema']}, more than {TOLERANCE:.0%} apart, so "
                "their times would say nothing: give more --layers or fewer --text-tokens, so that the blocks, "
                "which are alike, do most of the work"
            )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(args.device)
    torch.manual_seed(0)
    models = build(args)
    names = list(models)
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, (model, _) in models.items()}
    check_equal_work(parameters, "parameters", exempt="floor")
    work = {name: operations(*models[name]) for name in names}
    report: dict[str, Any] = {"parameters": parameters, "operations": {}}
    counts = {operation: {name: flops(work[name][operation]) for name in names} for operation in args.operations}
    for operation in args.operations:
        check_equal_work(counts[operation], f"operations in {operation}")
    if args.compile:  # only now: the counter does not see into compiled code
        for name in names:
            if name != "floor":
                models[name][0].compile_repeated_blocks(fullgraph=True)  # type: ignore[operator]
    for operation in args.operations:
        for _ in range(args.warmup):
            for name in names:
                work[name][operation]()
        rounds: list[dict[str, float]] = []
        for number in range(args.rounds):
            order = names[number % len(names) :] + names[: number % len(names)]
            rounds.append({name: seconds(work[name][operation], device) for name in order})
        fastest = [min(r["ltx"], r["wan"]) for r in rounds]
        report["operations"][operation] = {
            "gflop": {name: round(count / 1e9, 3) for name, count in counts[operation].items()},
            "milliseconds": {name: round(1e3 * statistics.median(r[name] for r in rounds), 3) for name in names},
            "ours_over": {
                name: round(statistics.median(r["kinema"] / r[name] for r in rounds), 4) for name in names[1:]
            },
            "ours_over_faster_of_ltx_and_wan": round(
                statistics.median(r["kinema"] / other for r, other in zip(rounds, fastest)), 4
            ),
            "where_our_time_goes": where_time_goes(work["kinema"][operation], device),
        }
    worst = max(abs(values["ours_over"]["kinema again"] - 1) for values in report["operations"].values())
    report["self_check"] = {"largest_deviation": round(worst, 4), "passed": worst <= TOLERANCE}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Time our denoiser beside diffusers' LTX and Wan ones.")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--head-dim", type=int, default=48)
    parser.add_argument("--frames", type=int, default=5, help="latent frames")
    parser.add_argument("--height", type=int, default=8, help="latent rows")
    parser.add_argument("--width", type=int, default=8, help="latent columns")
    parser.add_argument("--text-tokens", type=int, default=32)
    parser.add_argument("--text-dim", type=int, default=192)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument(
        "--operations", nargs="+", choices=("forward", "train_step"), default=["forward", "train_step"]
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; default: torch's own choice")
    parser.add_argument("--compile", action="store_true", help="torch.compile of every model's repeated blocks")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path, default=Path("bench/results/dit.json"))
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

    print(f"parameters: {report['parameters']}")
    for operation, values in report["operations"].items():
        for name in report["parameters"]:
            ratio = values["ours_over"].get(name)
            work = f"{values['gflop'][name]:9.2f} GFLOP {values['milliseconds'][name]:9.2f} ms"
            print(f"{operation:11} {name:17} {work}" + (f"   ours / this {ratio:.3f}" if ratio else ""))
        print(f"{'':11} ours / faster of LTX and Wan: {values['ours_over_faster_of_ltx_and_wan']:.3f}")
        print(f"{'':11} our time: {values['where_our_time_goes']}")
    print(f"self-check: {report['self_check']}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    if not report["self_check"]["passed"]:
        raise SystemExit(
            f"two equal models of ours differ by {report['self_check']['largest_deviation']:.1%}, more than "
            f"{TOLERANCE:.0%}, so the ratios above are noise (they are in {args.out} all the same): end other "
            f"work on this machine or give more --rounds than {args.rounds}, and run again"
        )


if __name__ == "__main__":
    main()
