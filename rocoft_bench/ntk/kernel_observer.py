"""What is told of an analysis while it runs; the command shows it, and stops it between two blocks."""


class KernelObserver:
    """Does nothing; subclasses show it."""

    def note(self, message: str) -> None:
        """Something that the user should know."""

    def started(self, what: str, blocks: int) -> None:
        """So many blocks are to be done next."""

    def advanced(self) -> None:
        """A block is done and stored. What is raised here ends the analysis; it goes on from this block."""

    def finished_part(self, what: str) -> None:
        """A part has come to its end."""
