"""Clips in and out: video files, manifests, datasets, batches and the built-in corpus.

| module       | purpose                                                                     |
|--------------|-----------------------------------------------------------------------------|
| `video_io`   | read, probe and write video files; the names of the three `video_` modules  |
| `pixels`     | uint8 frames ⇄ float pixels in [-1, 1]                                      |
| `manifest`   | one Parquet row a clip; anyone's CSV, JSONL or Parquet of captions          |
| `clips`      | a dataset of clips from a manifest or a folder of videos                    |
| `source`     | the dataset that a configuration asks for                                   |
| `buckets`    | batches of one shape, in an order that can start at any step                |
| `packing`    | clips of different shapes in sequences up to a token budget                 |
| `sheets`     | contact sheets and GIFs                                                     |
| `corpus`     | Diorama written to disk (`kinema corpus diorama`)                           |
| `soundtrack` | pieces of given videos' sound, laid in a new one                            |
| `fetch`      | given URLs as files, guarded against private addresses                      |
| `files`      | files that appear whole or not at all                                       |
| `diorama`    | the built-in world of described 3-D scenes                                  |
"""
