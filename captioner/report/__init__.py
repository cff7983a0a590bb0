"""`kinema caption report`: what became of every video, on one page."""
