"""How well a checkpoint follows its prompts, measured from pixels (docs/eval.md).

| module       | purpose                                                        |
|--------------|----------------------------------------------------------------|
| `prompts`    | the fixed prompts, what each asks, and its true scene          |
| `foreground` | where the object of a clip is                                  |
| `pixels`     | what a clip shows, in words                                    |
| `score`      | score, chance, ceiling, share, intervals                       |
| `exam`       | clips and prompts in, a report out                             |
| `ceilings`   | how often the measures are right on true clips of random scenes |
| `report`     | report.json, report.html, sheet.png                            |
| `page`       | pieces of a self-contained HTML page                           |
| `command`    | `kinema eval`                                                  |
"""
