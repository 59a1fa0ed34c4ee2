"""Walls around the process that runs a submission, as far as the system has them. Needs no root.

On Linux: namespaces of its own (user, mounts, processes, network), in which there is nothing but Python, NumPy and
an empty folder. Everywhere: limits on memory, files, processes and time; it dies with what started it.
"""

import contextlib
import ctypes
import os
import resource
import signal
import stat
import sys
import sysconfig
from pathlib import Path

MEMORY = 4 * 2**30  # bytes of address space
FILE = 64 * 2**20  # bytes in any one file, and where there are walls in all files
PROCESSES = 32
OF_USER = 256  # without walls all processes of the user count
NOBODY = 65534
NEW_USER, NEW_MOUNTS, NEW_OTHERS = 0x10000000, 0x00020000, 0x08000000 | 0x04000000 | 0x20000000 | 0x40000000
BIND, RECURSIVE, PRIVATE, REMOUNT, READ_ONLY = 4096, 16384, 1 << 18, 32, 1
NO_SETUID, NO_DEVICES, DETACH = 2, 4, 2
DIES_WITH_PARENT, DUMPABLE, ADOPTS, NO_NEW_RIGHTS = 1, 4, 36, 38
DEVICES = ("null", "zero", "full", "random", "urandom")


def system(name, *arguments):
    """Call a function of the C library, or raise OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    arguments = [os.fsencode(a) if isinstance(a, (str, Path)) else a for a in arguments]
    if getattr(library, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def die_with_parent():
    """Have the system end this process when the one that started it ends."""
    if sys.platform == "linux":
        system("prctl", DIES_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)


def hide_memory():
    """Let no other process of the same user look into this one's memory."""
    if sys.platform == "linux":
        system("prctl", DUMPABLE, 0, 0, 0, 0)


def go_first():
    """Where memory runs out, have the system end this process and its children before any other."""
    with contextlib.suppress(OSError):  # there is none on macOS
        Path("/proc/self/oom_score_adj").write_text("1000")


def limit(seconds, walls):
    """Limit what this process and its children may use, behind walls or without."""
    cpu = int(seconds) + 2
    for which, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, PROCESSES if walls else OF_USER),
        (resource.RLIMIT_CPU, cpu),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS does not limit memory
            hard = resource.getrlimit(which)[1]
            resource.setrlimit(which, (most, most) if hard == resource.RLIM_INFINITY else (min(most, hard),) * 2)


def needed():
    """Return the folders that Python needs to go on importing its standard library."""
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    with contextlib.suppress(OSError), open("/proc/self/maps") as maps:
        folders |= {os.path.dirname(line.split(maxsplit=5)[5]) for line in maps if ".so" in line}
    return folders


def enter(root, packages, hidden):
    """Leave the file system, the network and all other processes behind; return in a child that sees none of them.

    Parameters
    ----------
    root : Path
        An empty folder.
    packages : list of Path
        Folders and files that stay visible, read-only, beside the standard library.
    hidden : list of Path
        Folders that do not stay visible although the standard library's may hold them.
    """
    user, group = os.getuid(), os.getgid()
    kept = [os.path.realpath(folder) for folder in needed()]
    system("unshare", NEW_MOUNTS | NEW_OTHERS | (NEW_USER if user else 0))
    if user:
        for name, line in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(line)
    system("mount", None, "/", None, PRIVATE | RECURSIVE, None)
    room = f"size={FILE},nr_inodes=20000,mode=755".encode()
    system("mount", "tmpfs", root, "tmpfs", NO_SETUID | NO_DEVICES, room)
    top, root = root, os.path.join(root, "walls")
    os.mkdir(root)
    inside = [path for path in {*needed(), *kept} if not any(_within(path, p) for p in hidden)]
    for path in sorted(inside, key=len):
        show(root, path)
    for path in hidden:
        if os.path.isdir(f"{root}{path}") and not any(_within(stdlib, path) for stdlib in kept):
            system("mount", "tmpfs", f"{root}{path}", "tmpfs", 0, b"size=1m,mode=755")
    for path in [*packages, *(f"/dev/{name}" for name in DEVICES)]:
        show(root, path)
    for name in ("lib", "lib64"):  # the loader's paths
        if os.path.islink(f"/{name}") and not os.path.lexists(f"{root}/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
    for name in ("home", "tmp"):
        os.mkdir(f"{root}/{name}")
    os.chmod(f"{root}/tmp", 0o1777)
    os.mkdir(f"{top}/old")
    system("pivot_root", top, f"{top}/old")
    system("umount2", "/old", DETACH)
    os.chroot("/walls")  # in it no user namespace can be made, whose owner could mount more
    os.chdir("/")
    die_with_parent()  # again: other rights have undone it
    child = os.fork()  # process 1 of its namespace: with it all others there end
    if child:
        os.waitpid(child, 0)
        os._exit(0)


def _within(path, folder):
    return os.path.commonpath([path, folder]) == str(folder)


def show(root, path):
    """Make a folder or a file visible below `root` where it is now, read-only."""
    if not os.path.exists(path):
        return
    target = f"{root}{path}"
    os.makedirs(target if os.path.isdir(path) else os.path.dirname(target), exist_ok=True)
    if not os.path.isdir(path):
        Path(target).touch()
    system("mount", path, target, None, BIND | RECURSIVE, None)
    locked = os.statvfs(path).f_flag & (NO_SETUID | NO_DEVICES | 8 | 1024 | 2048 | 4096)  # may not be taken off
    atimes = {1024: 1024, 2048: 2048, 4096: 1 << 21}
    flags = (locked & 15) | sum(atimes[bit] for bit in atimes if locked & bit)
    system("mount", None, target, None, BIND | REMOUNT | READ_ONLY | flags, None)


def give_up_rights(home):
    """Keep no right beyond a plain user's; root becomes nobody, where nobody can read Python."""
    if os.getuid() == 0 and _readable_to_all(sysconfig.get_path("stdlib")):
        os.chown(home, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if sys.platform == "linux":
        system("prctl", NO_NEW_RIGHTS, 1, 0, 0, 0)
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        system("capset", header, none)


def _readable_to_all(folder):
    os.seteuid(NOBODY)
    try:
        os.listdir(folder)
    except OSError:
        return False
    finally:
        os.seteuid(0)
    return True


def adopt():
    """Become the parent of processes whose own has ended, so that `end_children` finds them."""
    if sys.platform == "linux":
        system("prctl", ADOPTS, 1, 0, 0, 0)


def end_children():
    """Kill all children of this process, those that it adopts meanwhile too, and wait for them."""
    while True:
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def forget_descriptors(kept):
    """Close every descriptor but these and the standard ones, which lead nowhere from now on."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for descriptor in {int(name) for name in os.listdir("/dev/fd")} - {0, 1, 2, *kept}:
        with contextlib.suppress(OSError):  # the one that listed the others
            os.close(descriptor)


def possible(root):
    """Whether the system grants namespaces here. Call it before there are threads."""
    if sys.platform != "linux":
        return False
    child = os.fork()
    if child == 0:
        try:
            enter(root, [], [])
            give_up_rights("/home")
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def remove(folder):
    """Delete a folder with all that is in it, however deep, and follow no link.

    Subfolders are first lifted up into the folder itself, one level at a time: no path and no stack gets long.
    """
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        count = 0
        names = os.listdir(top)
        while names:
            name = names.pop()
            if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
                os.unlink(name, dir_fd=top)
                continue
            os.chmod(name, 0o700, dir_fd=top)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                for below in os.listdir(inner):
                    if stat.S_ISDIR(os.lstat(below, dir_fd=inner).st_mode):
                        count += 1
                        lifted = f".lifted-{os.getpid()}-{count}"
                        os.chmod(below, 0o700, dir_fd=inner)  # to move a folder one must be able to write to it
                        os.rename(below, lifted, src_dir_fd=inner, dst_dir_fd=top)
                        names.append(lifted)
                    else:
                        os.unlink(below, dir_fd=inner)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(folder)
