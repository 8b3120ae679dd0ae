"""The report as one HTML file that needs nothing else: no network, no server, no other file."""

from rocoft_bench.report.page.document import write_page

__all__ = ["write_page"]
