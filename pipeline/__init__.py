"""From a prompt to frames: the canvas, the sampler, guidance, `KinemaPipeline`, and how a video was made.

| module       | purpose                                                                     |
|--------------|-----------------------------------------------------------------------------|
| `pipeline`   | `KinemaPipeline`, the numbered call from prompt to frames                   |
| `base`       | its parts and defaults, loading and saving                                  |
| `tasks`      | which task a call's arguments ask for                                       |
| `wishes`     | the size, length and rate that a call asks for                              |
| `draft`      | a canvas before its pixels are encoded                                      |
| `keyframes`  | pictures at times of a video                                                |
| `storyboard` | texts that follow one another in a video                                    |
| `within_frames` | inpainting and outpainting                                               |
| `remix`      | whole videos as a starting point: remix and blend                           |
| `whole_frames` | `pipe.remix`, `pipe.blend`, `pipe.outpaint`                               |
| `along_time` | `pipe.extend`, `pipe.loop`, `pipe.connect`                                  |
| `bridge`     | new frames between given ones, in rounds                                    |
| `canvas`     | what is known of a video before sampling                                    |
| `composite`  | given pixels back in their places, without a seam                           |
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
