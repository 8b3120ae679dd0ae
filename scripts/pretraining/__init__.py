"""How the small models of `rocoft_bench/demo/models` are made: one recipe per architecture, on text made by rules."""
