import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported, here and in the processes that tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
