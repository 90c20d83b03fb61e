"""What the registry does for itself, by a schedule or because an administrator says so, while requests go on: the garbage that
it collects, the audit and the scrub, and the jobs in which this is done.

Requests know nothing of this room: what they leave for it lies in the table (``condemned``, ``needs``, ``trash``).
"""
