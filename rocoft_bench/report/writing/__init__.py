"""Tables as documents: Markdown, LaTeX, and one line per number as CSV."""

from rocoft_bench.report.writing.latex import as_latex
from rocoft_bench.report.writing.markdown import as_markdown
from rocoft_bench.report.writing.tidy import as_csv, comparisons_csv

__all__ = ["as_csv", "as_latex", "as_markdown", "comparisons_csv"]
