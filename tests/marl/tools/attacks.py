"""Attack programs against the sandbox: each prints `held` where the sandbox held, and what it got where not."""

from __future__ import annotations

from typing import Final

NUMBERS: Final = {  # x86_64, aarch64
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "ptrace": (101, 117),
    "personality": (135, 92),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "init_module": (175, 105),
    "quotactl": (179, 60),
    "setxattr": (188, 5),
    "io_setup": (206, 0),
    "mbind": (237, 235),
    "mq_open": (240, 180),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "inotify_init1": (294, 26),
    "unshare": (272, 97),
    "vmsplice": (278, 75),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "seccomp": (317, 277),
    "memfd_create": (319, 279),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
    "landlock_create_ruleset": (444, 444),
    "memfd_secret": (447, 447),
}
CALL: Final = """
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
answer = libc.syscall({numbers}[platform.machine() != "x86_64"], 0, 0, 0, 0, 0, 0)
print("held" if answer == -1 and ctypes.get_errno() == errno.ENOSYS else ("{name}", answer, ctypes.get_errno()))
"""
REFUSED: Final = """
import ctypes, errno, fcntl, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_ssize_t
try:
    {action}
except (OSError, ImportError, ValueError) as error:
    print("held", error)
else:
    print("escaped")
"""
ACTIONS: Final = {
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "netlink": "socket.socket(16, socket.SOCK_RAW)",
    "packet": "socket.socket(17, socket.SOCK_RAW)",
    "crypto sockets": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "bluetooth": "socket.socket(31, socket.SOCK_RAW)",
    "sctp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)",
    "mptcp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "loopback": "socket.create_connection(('127.0.0.1', 1))",
    "internet": "socket.create_connection(('1.1.1.1', 53), 1)",
    "socket buffers": "socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)",
    "socket filters": "socket.socket().setsockopt(socket.SOL_SOCKET, 26, bytes(16))",
    "pipe buffers": "fcntl.fcntl(os.pipe()[0], 1031, 1 << 20)",
    "directory notes": "fcntl.fcntl(os.open('/tmp', os.O_RDONLY), 1026, 1)",
    "extended attributes": "open('/tmp/x', 'w').close() or os.setxattr('/tmp/x', 'user.x', bytes(1000))",
    "huge pages": "if libc.mmap(0, 1 << 21, 3, 0x40022, -1, 0) == -1: raise OSError(ctypes.get_errno())",
    "terminal input": "fcntl.ioctl(0, 0x5412, b'x')",
    "pip": "sys.path[:0] = [p + '/site-packages' for p in sys.path] + ['/usr/lib/python3/dist-packages']; import pip",
    "wheel": "import glob; sys.path += glob.glob(sys.path[1] + '/ensurepip/_bundled/*.whl'); import pip",
    "system libraries": "os.listdir('/usr/lib/systemd') or os.listdir('/usr/lib/git-core')",
    "site-packages": "if not os.listdir(os.path.dirname(os.__file__) + '/site-packages'): raise OSError('empty')",
    "keys": "open('/proc/keys')",
    "users": "open('/etc/passwd')",
    "device": "open('/dev/mem')",
    "shared memory": "open('/dev/shm/x', 'w')",
    "library folder": "open(os.__file__, 'w')",
}
PROGRAMS: Final = {
    **{name: CALL.format(name=name, numbers=numbers) for name, numbers in NUMBERS.items()},
    **{name: REFUSED.format(action=action) for name, action in ACTIONS.items()},
}
