"""The studio: a durable queue of jobs and the workers that make them; the app and the REST API are views on it."""
