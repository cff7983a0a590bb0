"""The REST API: `/v1/videos` in the shape that the `openai` client speaks, with a few flat extensions."""
