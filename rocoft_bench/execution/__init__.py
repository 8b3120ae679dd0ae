"""Whatever happens in another process: runs of a sweep, and the processes that make one run together.

The launching process checks the folder and holds its lock, shows the progress, and says how it ended. For one run by
several processes it starts `python -m rocoft_bench.execution.rank JOB` through the elastic launcher of torch; the first
of them writes into the folder.
"""
