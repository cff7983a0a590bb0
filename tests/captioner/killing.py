"""A run of all stages as a program of its own, to be killed: of the real ones, or of toys.

python killing.py real|toys SOURCE DATASET [section.key=value …]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main(which, source, dataset, *overrides):
    from kinema.captioner import flow
    from kinema.captioner.engine import claim
    from kinema.captioner.engine.claim import load_settings
    from kinema.captioner.flow import run_all

    only = None
    if which == "toys":
        from toy_stages import NUMBERS_STAGE, SQUARES_STAGE, TOTAL_STAGE

        claim.models_of = flow.models_of = lambda settings: {}  # toys have no weights, and torch loads slowly
        only = [NUMBERS_STAGE, SQUARES_STAGE, TOTAL_STAGE]
    run_all(source, dataset, load_settings(None, overrides), only=only)


if __name__ == "__main__":
    main(*sys.argv[1:])
