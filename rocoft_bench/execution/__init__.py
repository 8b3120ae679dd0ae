"""Whatever happens in another process: runs of a sweep, and the processes that make one run together.

An executor has room for some jobs at a time, here or on a cluster. Where a job is executed, a `RunProcess` holds the
run's lock, starts its worker (`python -m rocoft_bench.execution.worker JOB`), and puts on record how it ended. The
worker makes the run, or launches several workers that make it together. All of them meet in one folder, the channel.
"""
