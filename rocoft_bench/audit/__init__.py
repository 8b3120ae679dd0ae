"""What in the paper does not add up, each with the arithmetic: computed from its tables, with nothing stored."""

from rocoft_bench.analysis.table import Table
from rocoft_bench.audit.averages import averages
from rocoft_bench.audit.claims import claims
from rocoft_bench.audit.parameters import parameter_counts, rank_counts
from rocoft_bench.audit.protocol import protocol_notes
from rocoft_bench.audit.sizes import data_sizes

__all__ = ["paper_audit"]


def paper_audit() -> list[Table]:
    """Averages, parameter counts, Table 8, claims of the text, notes on the protocol, data sizes."""
    return [averages(), parameter_counts(), rank_counts(), claims(), protocol_notes(), data_sizes()]
