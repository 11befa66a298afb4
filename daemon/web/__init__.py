"""What the daemon serves over HTTP, started only if the configuration asks for it.

The rest of the daemon listens to nobody. Only this package imports starlette and hypercorn, and it
is imported by those who want it, in a worker thread.
"""
