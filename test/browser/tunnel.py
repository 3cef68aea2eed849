"""What `ssh -L PORT:SOCKET` does: a port of this machine that leads to the unix socket of a cortexd's admin interface."""
import socket
import threading


class Tunnel:
    def __init__(self, port, path):
        self.path = str(path)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.open = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return  # closed
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self.path)
            except OSError:
                near.close()
                continue
            self.open |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(source, target), daemon=True).start()

    def copy(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass  # either side has left; the other one is told below
        for end in (source, target):
            self.shut(end)

    @staticmethod
    def shut(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is already

    def close(self):
        self.shut(self.listener)
        self.listener.close()
        for end in list(self.open):
            self.shut(end)
            end.close()
