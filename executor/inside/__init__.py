"""The trusted programs that run beside and inside the boxes: the zygote, its keepers, the box.

Nothing here is imported by the executor's own process for use at run time: it hands the *sources*
over (`executor.bundle`) to an interpreter of the owner's choice, which may be another Python than
ours and may not be able to see our files. So everything below this package uses the standard
library alone, avoids imports that cost milliseconds, and stays within the Python of 3.9.
"""
