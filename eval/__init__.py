"""The exam: does a model do what its prompts say? (docs/exam.md)

| module      | purpose                                                          |
|-------------|------------------------------------------------------------------|
| `questions` | the prompts, and what each asks; the lists stand in lists/       |
| `staging`   | a true scene for a prompt                                        |
| `sampling`  | a pipeline's clips of the prompts                                |
| `foreign`   | another system's video files                                     |
| `store`     | clips and readings that are kept                                 |
| `judge`     | the judges: what a clip shows                                    |
| `answers`   | does a clip show what its prompt asks?                           |
| `sitting`   | all answers of one system, under its own and other prompts       |
| `marks`     | score, chance, ceilings, share, intervals; paired comparison     |
| `quality`   | Fréchet distance, sharpness, flicker, diversity                  |
| `physics`   | permanence of hidden things, bounces, falls                      |
| `measures`  | both of these, beside true clips                                 |
| `crosscheck` | colours by a hue rule                                          |
| `exam`      | all of it in order                                               |
| `outcome`   | what an exam found, as plain dictionaries                        |
| `card`      | the report card, one page                                        |
| `versus`    | two exams side by side                                           |
| `drawings`, `style`, `page` | pieces of pages                                  |
| `command`   | `kinema eval`                                                    |
"""
