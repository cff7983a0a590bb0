"""What a server knows of the model it serves without loading it, and what a video will take."""
