"""First process of a sandbox: it isolates a child without rights, which runs the program read from stdin.

There are three processes: the first creates the namespaces and waits; the second is process 1 in them, and every other
process there ends with it; the third has no rights and is the program. Bubblewrap replaces the first one: then this
file starts as process 1 (argument `isolated`). It runs as text, with the standard library alone.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import sys

BIND, REC, REMOUNT, RDONLY, NOSUID, NODEV, PRIVATE, DETACH = 4096, 16384, 32, 1, 2, 4, 1 << 18, 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
NEW_USER, NEW_OTHERS = 1 << 28, 0x20000 | 1 << 29 | 1 << 30 | 1 << 27 | 1 << 26  # mount, pid, network, ipc, host name
SET_DEATH_SIGNAL, SET_DUMPABLE, SET_NO_NEW_PRIVS, CAPBSET_DROP, SET_SECUREBITS, LOCKED = 1, 4, 38, 24, 28, 0x2F
SET_SECCOMP, FILTER, JOIN_SESSION_KEYRING = 22, 2, 1
KEYCTL = {"x86_64": 250, "aarch64": 219}
GRACE = 22  # seconds after the program's own until an alarm ends all: as long as the sandbox may take to start, and 2
NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)


def must(result: int, what: str) -> None:
    """Exit with a sentence if a system call failed."""
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def new_namespaces(root: bool) -> None:
    """Enter new namespaces. Root maps all users, so that the program can be nobody; others map themselves to root."""
    parent, child = os.getpid(), 0
    reader, writer = os.pipe()
    if root:
        child = os.fork()
        if child == 0:  # a process outside may map more than its own user
            os.close(writer)
            if not os.read(reader, 1):  # the process to be mapped has ended
                os._exit(1)
            for which in ("uid", "gid"):
                with open(f"/proc/{parent}/{which}_map", "w") as file:
                    file.write("0 0 65536")
            os._exit(0)
    user, group = os.getuid(), os.getgid()
    must(libc.unshare(NEW_USER | NEW_OTHERS), "unshare")
    if root:
        os.write(writer, b"+")
        if os.waitpid(child, 0)[1]:
            sys.exit("cannot map users")
    else:
        for name, text in {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    os.close(reader)
    os.close(writer)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount a file system, or exit."""
    texts = [text.encode() or None for text in (source, target, kind)]
    must(libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def bind_read_only(path: str, target: str) -> None:
    """Make a file or folder readable at another place, and nothing more."""
    mount(path, target, "", BIND | REC)
    flags = os.statvfs(path).f_flag  # a mount must keep its flags; mount() has another number for one of them
    kept = flags & 0b1111 | flags & 0xC00 | (1 << 21 if flags & 4096 else 0)
    mount("", target, "", BIND | REMOUNT | RDONLY | NOSUID | NODEV | kept)


def change_root(memory: int, links: dict[str, str], binds: dict[str, str], covered: dict[str, str]) -> None:
    """Replace the root by one with the visible files, read-only, and an empty /tmp; unmount the old one."""
    with open("/proc/sys/user/max_user_namespaces", "w") as limit:
        limit.write("0")  # the program cannot gain rights in a new user namespace
    mount("", "/", "", REC | PRIVATE)
    os.umask(0o022)
    root = "/proc"  # a folder that exists, and is not needed again
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=1m,nr_inodes=1k,mode=755")
    empty = {"folder": root + "/tmp", "file": root + "/.empty"}
    os.mkdir(empty["folder"])
    os.mknod(empty["file"], 0o444)
    for place, path in binds.items():
        os.makedirs(os.path.dirname(root + place), exist_ok=True)
        os.mkdir(root + place) if os.path.isdir(path) else os.mknod(root + place, 0o444)
        bind_read_only(path, root + place)
    for place, target in links.items():
        os.makedirs(os.path.dirname(root + place), exist_ok=True)
        os.symlink(target, root + place)
    for place, kind in covered.items():
        bind_read_only(empty[kind], root + place)
    os.unlink(empty["file"])
    mount("tmpfs", root + "/tmp", "tmpfs", NOSUID | NODEV, f"size={max(memory // 16, 1)}m,nr_inodes=1k,mode=777")
    os.chdir(root)
    must(libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    must(libc.umount2(b".", DETACH), "umount of the old root")
    mount("", "/", "", BIND | REMOUNT | RDONLY | NOSUID | NODEV)
    os.chdir("/tmp")


def set_limits(seconds: float, memory: int, processes: int) -> None:
    """Set the limits of the program; `processes` counts every process of its user in the namespace."""
    bytes_ = memory << 20
    limits = {
        resource.RLIMIT_AS: bytes_ - bytes_ // 16,  # the rest is for files
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_FSIZE: bytes_ // 16,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
        resource.RLIMIT_RTPRIO: 0,
    }
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))


def drop_capabilities(user: int) -> None:
    """Become `user` (0: stay) and drop every capability for good."""
    must(libc.prctl(SET_SECUREBITS, LOCKED, 0, 0, 0), "securebits")
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
    for capability in range(64):
        if libc.prctl(CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break
    if user:
        os.setresuid(user, user, user)
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    must(libc.capset(header, none), "capset")
    must(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def end_with(parent: int | None) -> None:
    """Have the kernel kill this process when its parent ends; exit if `parent` is another process by now."""
    must(libc.prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "death signal")
    if parent is not None and os.getppid() != parent:
        sys.exit("the process that started the sandbox has ended")


def filter_calls(program: bytes) -> None:
    """Leave the caller's keyrings, and allow the system calls of a seccomp filter only."""
    libc.syscall(KEYCTL[platform.machine()], JOIN_SESSION_KEYRING, None)  # a kernel may have no keyrings

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]

    pointer = ctypes.byref(Program(len(program) // 8, program))
    must(libc.prctl(SET_SECCOMP, FILTER, pointer, 0, 0), "seccomp")


def exit_like(child: int) -> None:
    """Wait for a process, reap the orphans meanwhile, and exit with its status."""
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    """Read the program from stdin, isolate a child process, and run the program there."""
    seconds, memory, processes, calls = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    isolated = len(sys.argv) == 5  # by bubblewrap: this is process 1
    root = os.getuid() == 0 and not isolated
    signal.alarm(int(seconds) + GRACE)
    if not isolated:
        end_with(int(sys.argv[5]))
    code = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not isolated:
        new_namespaces(root)
        end_with(int(sys.argv[5]))  # other credentials take the signal back
        if child := os.fork():
            exit_like(child)
        end_with(None)
        change_root(memory, *json.loads(sys.argv[6]))
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(128 + number))  # process 1 ends only where it says so
    signal.alarm(int(seconds) + GRACE)
    must(libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), "dumpable")  # the program can neither trace process 1 nor read it
    if child := os.fork():
        exit_like(child)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    own = 1 if root else 2 if isolated else 3  # processes of the program's user in its namespace: it, and its parents
    set_limits(seconds, memory, processes + own)
    if isolated:
        os.environ.pop("PWD", None)
    else:
        drop_capabilities(NOBODY if root else 0)
    filter_calls(bytes.fromhex(calls))
    os.write(1, b"\x06")  # fails if the process that started the sandbox has ended
    sys.argv = ["program"]
    exec(compile(code, "program", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
