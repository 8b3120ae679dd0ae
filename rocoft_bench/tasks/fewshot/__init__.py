"""The few-shot tasks behind Tables 4, 5 and 13: prompts, label words and draws."""

from rocoft_bench.tasks.fewshot.benchmarks import TASKS
from rocoft_bench.tasks.fewshot.few_shot_task import FAMILY, FewShotSettings, FewShotTask

__all__ = ["FAMILY", "TASKS", "FewShotSettings", "FewShotTask"]
