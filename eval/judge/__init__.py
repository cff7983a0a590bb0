"""The exam's judges. They learned from Diorama alone and know no generator.

| module      | purpose                                                                    |
|-------------|----------------------------------------------------------------------------|
| `clips`     | clips with exact labels to learn from                                       |
| `labeller`  | frame to labels: which thing each pixel belongs to, what the frame shows    |
| `train`     | trains the labeller (`kinema train judge`)                                  |
| `things`    | labels to instances, and tracks of them through a clip                      |
| `flow`      | how the background moves                                                    |
| `readers`   | tracks and flow to motions, directions, camera moves                        |
| `fit`       | fits the readers (`python -m kinema.eval.judge.fit`)                        |
| `hue`       | colour by a rule, as a cross-check                                          |
| `reading`   | what is said of a clip                                                      |
| `pixel`     | the pixel judge: clip to reading                                            |
| `similar`   | the similarity judge: clip features, likeness of clip and text              |
| `weights/`  | both judges, and their model card                                           |
"""
