"""The pages of the studio, in Gradio: views on the queue, a file a screen."""
