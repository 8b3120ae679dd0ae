"""How the user's files with rows are called: FORMS for the readers and for every message, help text and document."""

FORMS = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")
"""How the name of a file with rows ends; `rocoft_bench.tasks.readers` reads them."""

ENDINGS = f"{FORMS[0]} (or {', '.join(FORMS[1:])})"
