"""The one exception of the simulator: a XenAPI failure, as it goes over the wire."""


class XenFailure(Exception):
    """An error code with its parameters, in the order in which the client gets them.

    Codes and their parameters are those of the published data model (`model.json`), with the deviations of the real
    server, which tests/xen_simulator lists one by one.
    """

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = params

    @property
    def description(self) -> list[str]:
        """What `ErrorDescription` and a task's `error_info` hold."""
        return [self.code, *self.params]
