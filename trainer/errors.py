"""How a training run ends before its last step."""


class TrainingError(RuntimeError):
    """A run that cannot go on; the message says what happened, what is kept and the next step."""


class TrainingPaused(Exception):
    """A run that was asked to stop, did so after a checkpoint, and goes on when the same command is repeated."""
