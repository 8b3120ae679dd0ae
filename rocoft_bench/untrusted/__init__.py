"""Reading what others wrote: files, JSON and YAML, within limits, every fault a UserError that names the place."""

from rocoft_bench.untrusted.files import decoded, open_file, read_bytes, read_text, require_file
from rocoft_bench.untrusted.json_text import parse_json, read_json
from rocoft_bench.untrusted.yaml_text import parse_yaml, read_yaml
