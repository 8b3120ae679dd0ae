"""One run by several processes, on one machine or more, through the elastic launcher of torch.

The launching process checks the folder and holds its lock, shows the progress, and says how it ended. It starts the
others, `python -m rocoft_bench.launch.rank JOB`, which make the run together; the first of them writes into the folder.
"""

from rocoft_bench.launch.agent import run
from rocoft_bench.launch.request import Launch

__all__ = ["Launch", "run"]
