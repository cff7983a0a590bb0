"""Jobs: what may be asked for, the durable queue, and the folder of results."""
