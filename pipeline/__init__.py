"""From a prompt to frames: the canvas, the sampler, guidance, `KinemaPipeline`, and how a video was made.

| module       | purpose                                                                     |
|--------------|-----------------------------------------------------------------------------|
| `pipeline`   | `KinemaPipeline`, the numbered call from prompt to frames                   |
| `canvas`     | what is known of a video before sampling; one function a task               |
| `sampler`    | one loop over a (steps × frames) matrix of noise levels                     |
| `denoise`    | the guided forward of each step, and what callbacks may change              |
| `guidance`   | classifier-free guidance, its variants and interval                         |
| `text`       | prompts encoded, laid along the frames, stacked for guidance                |
| `seeds`      | one generator a video                                                       |
| `grid`       | the sizes and lengths a model can make                                      |
| `inputs`     | checks of the parts and of a call, before any model runs                    |
| `media`      | given pictures and videos at the size and rate that a task works at         |
| `sources`    | what a given picture or video is, whatever its form                         |
| `conform`    | frames fitted into another size: cover, contain or stretch                  |
| `masks`      | where new content is made: pictures, videos, arrays, boxes that move        |
| `output`     | what a call returns                                                         |
| `saving`     | frames and their provenance into files                                      |
| `provenance` | how a video was made, in its file and as a command                          |
| `checkpoint` | finds the packaged checkpoint, a folder or a hub model                      |
| `build`      | pipelines with random weights, or from trained parts                        |
| `command`    | `kinema generate` and `kinema info`                                         |
| `task_commands` | `kinema extend`, `loop`, `stream` and the other tasks                    |
| `again`      | a task of the past in the words of the command line                         |
| `default/`   | the packaged checkpoint                                                     |
"""
