"""A run on disk: its folder, record and provenance."""

from rocoft_bench.runs.adapter_files import saved_files
from rocoft_bench.runs.analysis_records import EfficiencyRecord, Kernel, KernelName, KernelRecord, Trial, TuningRecord
from rocoft_bench.runs.atomic_files import (
    atomic_replacement,
    private_folder,
    remove_leftovers,
    replace_atomically,
    write_json,
    write_json_lines,
    write_text,
)
from rocoft_bench.runs.directory import RunBusyError, RunDirectory, config_values, find_run, folder_of
from rocoft_bench.runs.identity import Identity, can_be_compared, digest, other_weights
from rocoft_bench.runs.provenance import provenance, read_provenance
from rocoft_bench.runs.record import (
    LOG_TAIL,
    MAKE_ROOM,
    SMALLER,
    Failure,
    RunRecord,
    SavedFile,
    Status,
    read_record,
    tells_of_full_disk,
)
