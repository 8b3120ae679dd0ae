"""From records to what may be compared, and the statistics of it. In the order of reading:

records         finds and reads what runs, kernel analyses and benches have left in a folder
long_table      makes one table of it: a row for each value, every condition a column
groups          which records may meet in a table, or in a cell, and what tells the others apart
pivot           from values to rows of cells, beside what the paper has (references); table: what these are made of
ranking         averages, mean ranks and the best of each column
method_comparison   one method against each other one (example_scores: from predictions; statistics: the bootstrap)
differences     in what two runs, or a run and a cell of the paper, differ
verdicts        what the seeds say of it (seed_statistics: tests, equivalence, effect sizes, power, ranks)
conditions      what a reader has to know of the records in a table
"""
