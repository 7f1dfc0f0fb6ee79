"""The command line."""

import os

# One thread each for the linear algebra of numpy, which would otherwise compete with the threads of a session
# for the cores. Must be set before numpy is imported, hence here; whoever has set them knows better.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
