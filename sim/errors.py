"""The one exception of the simulator."""


class SimulatorError(Exception):
    """Metal text that cannot be translated, compiled or checked here, or a kernel's mistake that a run found.

    The message holds one finding a line, each with the file and line of the Metal text where that is known.
    """
