"""The named ways in which a hypervisor can say no, shared by all drivers.

Drivers raise only these. Each carries a stable `code`, words for the user, and whether the caller may still believe that
nothing was changed (`outcome_known`). When the outcome is not known, it has to be found out by looking at the hypervisor,
never by repeating the call.
"""

from hypervisors.storable import lines

DETAIL_LENGTH = 4000


class HypervisorError(Exception):
    """A call to a hypervisor did not succeed. `detail` is one or two sentences for the user, plain text; it may quote the
    hypervisor, so it is made fit to be stored.

    `outcome_known` is the class's; a driver that knows better sets it on the error it raises (a read that timed out has
    changed nothing).
    """

    code = "hypervisor_error"
    title = "The hypervisor reported an error"
    outcome_known = True

    def __init__(self, detail: str) -> None:
        super().__init__()
        self.reword(detail)

    def reword(self, detail: str) -> None:
        """Give it other words, also where it is shown as a text."""
        self.detail = lines(detail, DETAIL_LENGTH)
        self.args = (self.detail,)


def outcome_unknown(detail: str) -> HypervisorError:
    """The server lost track of what it was asked for: only looking at the machine tells what became of it."""
    error = HypervisorError(detail)
    error.outcome_known = False
    return error


class Unreachable(HypervisorError):
    """No connection could be made; nothing was changed."""

    code = "hypervisor_unreachable"
    title = "The hypervisor cannot be reached"


class ConnectionLost(Unreachable):
    """The connection broke while a call was under way: it may or may not have been carried out."""

    outcome_known = False


class OutOfReach(Unreachable):
    """The endpoint answers, but the machine's host or storage cannot be reached from it. It says nothing of the endpoint
    itself. A driver that cannot tell how far the host had come says that the outcome is not known."""

    title = "The machine cannot be reached"


class TimedOut(HypervisorError):
    """The call took longer than allowed; the hypervisor may still be working on it."""

    code = "hypervisor_timeout"
    title = "The hypervisor did not answer in time"
    outcome_known = False


class LoginRefused(HypervisorError):
    """User name, password or certificate was refused."""

    code = "hypervisor_login_refused"
    title = "The hypervisor refused the login"


class NotPermitted(LoginRefused):
    """The login is good, and may not do this to this machine: a permission is missing. It says nothing of the endpoint
    itself."""

    title = "The hypervisor does not allow this to the login"


class NotFound(HypervisorError):
    """The machine, snapshot, volume or pool is not there any more."""

    code = "gone_on_hypervisor"
    title = "The hypervisor does not know it any more"


class Busy(HypervisorError):
    """The hypervisor is carrying out something else on this machine."""

    code = "hypervisor_busy"
    title = "The hypervisor is busy with this machine"


class Unsupported(HypervisorError):
    """This hypervisor, version or machine cannot do it; the detail says why and what would help."""

    code = "not_supported"
    title = "Not supported here"


class Rejected(HypervisorError):
    """The hypervisor understood and refused, for a reason it gave in the detail."""

    code = "hypervisor_rejected"
    title = "The hypervisor refused"


class OutOfSpace(HypervisorError):
    """The storage was too full to finish; nothing usable was left behind."""

    code = "out_of_space"
    title = "The storage pool is full"


class Cancelled(HypervisorError):
    """The call was stopped on request and undone."""

    code = "cancelled"
    title = "Cancelled"


class DriverMissing(HypervisorError):
    """The library this kind of hypervisor needs is not installed; the detail says how to install it."""

    code = "driver_missing"
    title = "The driver for this hypervisor is not installed"
