"""Stage 3, `signals`: scores of clips, which the filters select by."""
