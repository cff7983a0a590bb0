"""Raw videos in, captioned and scored clips out."""
