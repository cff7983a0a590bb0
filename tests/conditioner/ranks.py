"""One rank of a training step of a small captioner under gloo; rank 0 saves the loss and every gradient.

python ranks.py LOSS FILE, with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in the environment.
"""

import os
import sys

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.parallel import DistributedDataParallel

from kinema.conditioner.captioner import ContrastiveCaptioner
from kinema.conditioner.losses import caption_loss, contrastive_loss, gather, positive_pairs

CLIPS = 6


def main(loss, path):
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    if ranks > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = ContrastiveCaptioner(
        vocab_size=300, context_length=8, width=16, num_layers=1, num_decoder_layers=1, num_heads=2, embed_dim=16,
        image_size=8, patch_size=4, num_frames=2, vision_width=16, vision_layers=1, vision_heads=2,
        caption_tokens=4, loss=loss,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(CLIPS, 3, 2, 8, 8, generator=generator)
    ids = torch.randint(6, 300, (CLIPS, 8), generator=generator)
    for row in range(CLIPS):  # ranks hold different numbers of tokens
        ids[row, 2 + row :], ids[row, 1 + row] = 0, 2
    keys = torch.tensor([[1], [2], [1], [3], [2], [4]])  # equal meanings lie on different ranks

    share = slice(rank * CLIPS // ranks, (rank + 1) * CLIPS // ranks)
    wrapped = DistributedDataParallel(model) if ranks > 1 else model
    output = wrapped(pixels[share], torch.tensor([[0.0, 1.0]]).expand(CLIPS // ranks, 2), ids[share])
    video, text, all_keys = gather(output.video_features, output.text_features, keys[share])
    contrast = contrastive_loss(video, text, positive_pairs(all_keys), output.logit_scale, output.logit_bias)
    total = contrast + 2 * caption_loss(output.logits, ids[share], 0)
    total.backward()
    value = total.detach().clone()
    if ranks > 1:
        dist.all_reduce(value)
        value /= ranks
    if rank == 0:
        save_file({"loss": value} | {name: p.grad for name, p in model.named_parameters()}, path)
    if ranks > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
