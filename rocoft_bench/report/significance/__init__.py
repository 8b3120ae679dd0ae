"""RoCoFT against the other methods: paired tests over evaluation rows and over seeds, and ranks over tasks."""
