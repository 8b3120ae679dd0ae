"""Many runs: which of them are to do, in which order, and who carries them out."""
