"""Where candidates are evaluated: the same interface for processes of this machine and for a cluster."""
