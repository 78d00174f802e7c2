"""What the sandbox's first process runs: it puts up the walls, and lets a child without rights run the program.

Three processes: the first makes the namespaces and waits, the second is process 1 in them, and all others there end
with it; the third has no rights, and is the program. It is run as text, with the standard library alone.
"""

import ctypes
import os
import platform
import resource
import signal
import sys
import sysconfig
import tempfile

BIND, REC, REMOUNT, RDONLY, NOSUID, NODEV, PRIVATE, DETACH = 4096, 16384, 32, 1, 2, 4, 1 << 18, 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
NEW_USER, NEW_OTHERS = 1 << 28, 0x20000 | 1 << 29 | 1 << 30 | 1 << 27 | 1 << 26  # mount, pid, network, ipc, host name
SET_DEATH_SIGNAL, SET_DUMPABLE, SET_NO_NEW_PRIVS, CAPBSET_DROP, SET_SECUREBITS, LOCKED = 1, 4, 38, 24, 28, 0x2F
NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)


def must(result: int, what: str) -> None:
    """End, with a sentence, where a system call failed."""
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def namespaces(root: bool) -> None:
    """Begin namespaces; root's has all users, so that the program can be nobody, another's has this one as root."""
    ours, child = os.getpid(), 0
    told, tell = os.pipe()
    if root:
        child = os.fork()
        if child == 0:  # a process outside may map more than its own user
            os.read(told, 1)
            for which in ("uid", "gid"):
                with open(f"/proc/{ours}/{which}_map", "w") as file:
                    file.write("0 0 65536")
            os._exit(0)
    user, group = os.getuid(), os.getgid()
    must(libc.unshare(NEW_USER | NEW_OTHERS), "unshare")
    if root:
        os.write(tell, b"+")
        if os.waitpid(child, 0)[1]:
            sys.exit("users cannot be mapped")
    else:
        for name, text in {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    os.close(told)
    os.close(tell)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount, or end."""
    texts = [text.encode() or None for text in (source, target, kind)]
    must(libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def show(path: str, root: str) -> None:
    """Let a folder be read in the new root, and nothing more."""
    if os.path.islink(path):
        os.symlink(os.readlink(path), root + path)
        return
    os.makedirs(root + path, exist_ok=True)
    mount(path, root + path, "", BIND | REC)
    has = os.statvfs(path).f_flag  # what a mount has must stay; three of the flags have other numbers here
    kept = has & 0b1111 | has & 0xC00 | (1 << 21 if has & 4096 else 0)
    mount("", root + path, "", BIND | REMOUNT | RDONLY | NOSUID | NODEV | kept)


def walls(memory: int) -> None:
    """Make a root of the standard library and an empty /tmp, and forget the old one."""
    with open("/proc/sys/user/max_user_namespaces", "w") as limit:
        limit.write("0")  # no rights in a namespace of the program's own
    mount("", "/", "", REC | PRIVATE)
    root = tempfile.mkdtemp() if os.access(tempfile.gettempdir(), os.W_OK) else "/mnt"
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=1m,nr_inodes=1k,mode=755")
    libraries = {"/lib", "/lib64", "/usr/lib", "/usr/lib64", sysconfig.get_path("stdlib")}
    for path in sorted(path for path in libraries if os.path.isdir(path)):
        if not any(path.startswith(other + "/") for other in libraries):
            show(path, root)
    os.mkdir(root + "/tmp")
    mount("tmpfs", root + "/tmp", "tmpfs", NOSUID | NODEV, f"size={max(memory // 16, 1)}m,nr_inodes=1k,mode=777")
    os.chdir(root)
    must(libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    must(libc.umount2(b".", DETACH), "umount of the old root")
    mount("", "/", "", BIND | REMOUNT | RDONLY | NOSUID | NODEV)
    os.chdir("/tmp")


def give_up_rights(seconds: float, memory: int, processes: int, user: int) -> None:
    """Take limits on, and let go of every capability, for good."""
    bytes_ = memory << 20
    limits = {
        resource.RLIMIT_AS: bytes_,
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_FSIZE: bytes_ // 16,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_NPROC: processes + (1 if user else 3),  # the program; of the same user, the other two
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))
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


def end_as(child: int) -> None:
    """Wait for a process, and whatever is left to it, and end as it did."""
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    """Read the program, put up the walls, and run it."""
    seconds, memory, processes = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    code = sys.stdin.buffer.read().decode("utf-8", "replace")
    root = os.getuid() == 0
    namespaces(root)
    if child := os.fork():
        end_as(child)
    must(libc.prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "death signal")
    walls(memory)
    must(libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), "dumpable")
    if child := os.fork():
        end_as(child)
    give_up_rights(seconds, memory, processes, NOBODY if root else 0)
    os.write(1, b"\x06")
    sys.argv = ["program"]
    exec(compile(code, "program", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
