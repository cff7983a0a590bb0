"""Worker processes, their keeper, and what becomes of one job."""
