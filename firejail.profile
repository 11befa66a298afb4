# How famulus runs a job in firejail (0.9.72 or later). The executor reads this file when it
# starts and passes each line as an option; no other profile is read, neither the system's nor
# the user's. What changes from job to job (the workspace, the paths to hide) it adds itself.
#
# To try it by hand:  firejail --profile=firejail.profile --private=DIR /bin/bash

# Files. The workspace takes the place of the home directory; everything else that is not the
# operating system is hidden by the executor, which lists the directories at each start.
private-tmp
# It leaves there what desktops keep in /tmp: the sockets of X and, for nosound to hide, of sound.
blacklist /tmp/.X11-unix
private-dev
private-cwd
disable-mnt
# The home directory may lie in /var, where the executor's user owns nothing else.
writable-var

# Network: a namespace with nothing but its own loopback.
net none
protocol unix,inet,inet6

# Privileges. noroot also gives each job a user namespace, in which RLIMIT_NPROC counts the job.
noroot
nonewprivs
caps.drop all
nogroups
ipc-namespace

# System calls. firejail's default list leaves io_uring, namespaces and userfaultfd open. clone3
# must answer ENOSYS, because EPERM would break every thread.
restrict-namespaces
seccomp io_uring_setup,io_uring_enter,io_uring_register,unshare,setns,userfaultfd,clone3:ENOSYS

# No desktop.
dbus-user none
dbus-system none
no3d
nodvd
noinput
nosound
notv
nou2f
novideo
