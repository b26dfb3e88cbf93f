"""Ports for servers that tests start, which nobody else is given meanwhile. Whoever starts a server for a test may enter.

A port that was only looked for, and let go of again, may be given to another process before the server takes it, or between
two of the server's lives.
"""

import socket


class HeldPort:
    """A TCP port of 127.0.0.1 that the system gives to nobody else until `let_go`.

    It is bound and does not listen, so that connections are refused as long as no server does. A server can listen on it
    all the same, again and again, if it sets SO_REUSEADDR, as servers do that want to start again at once.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = int(self._socket.getsockname()[1])

    def let_go(self) -> None:
        self._socket.close()
