"""The few-shot tasks behind Tables 4, 5 and 13: prompts, label words and draws."""
