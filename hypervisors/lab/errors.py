"""What can go wrong in the lab, in words for the person at the terminal."""


class LabError(Exception):
    """The lab could not do what was asked; the message says what was tried and what came back."""


class LabUnavailable(LabError):
    """This computer cannot run the lab at all (a program, the kernel or the architecture is missing).

    Callers go on without real machines: tests skip with this message, the demo uses the simulated hypervisor.
    """
