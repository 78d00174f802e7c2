"""Seccomp filter of the sandbox: system calls that a Python program needs are allowed, all others do not exist.

A filter is a program in classic BPF that the kernel runs before each system call: seccomp(2), and
Documentation/userspace-api/seccomp_filter.rst in the kernel. Calls that are not listed return ENOSYS, as on an old
kernel, so that libraries use older calls instead. Not listed are, among others: System V and POSIX queues, memory and
semaphores, memfd, keyrings, userfaultfd, io_uring, AIO, bpf, perf, ptrace, process_vm_*, inotify, mounts, namespaces,
extended attributes that are written, and whatever later kernels add.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence
from typing import Final

CALLS: Final = """
read:0:63 write:1:64 open:2: close:3:57 stat:4: fstat:5:80 lstat:6: poll:7: lseek:8:62 mmap:9:222 mprotect:10:226
munmap:11:215 brk:12:214 rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 ioctl:16:29 pread64:17:67
pwrite64:18:68 readv:19:65 writev:20:66 access:21: pipe:22: select:23: sched_yield:24:124 mremap:25:216 msync:26:227
mincore:27:232 madvise:28:233 dup:32:23 dup2:33: pause:34: nanosleep:35:101 getitimer:36:102 alarm:37: setitimer:38:103
getpid:39:172 sendfile:40:71 socket:41:198 connect:42:203 accept:43:202 sendto:44:206 recvfrom:45:207 sendmsg:46:211
recvmsg:47:212 shutdown:48:210 bind:49:200 listen:50:201 getsockname:51:204 getpeername:52:205 socketpair:53:199
setsockopt:54:208 getsockopt:55:209 clone:56:220 fork:57: vfork:58: execve:59:221 exit:60:93 wait4:61:260 kill:62:129
uname:63:160 fcntl:72:25 flock:73:32 fsync:74:82 fdatasync:75:83 truncate:76:45 ftruncate:77:46 getdents:78:
getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82: mkdir:83: rmdir:84: creat:85: link:86: unlink:87: symlink:88:
readlink:89: chmod:90: fchmod:91:52 chown:92: fchown:93:55 lchown:94: umask:95:166 gettimeofday:96:169 getrlimit:97:163
getrusage:98:165 sysinfo:99:179 times:100:153 getuid:102:174 getgid:104:176 setuid:105:146 setgid:106:144
geteuid:107:175 getegid:108:177 setpgid:109:154 getppid:110:173 getpgrp:111: setsid:112:157 setreuid:113:145
setregid:114:143 getgroups:115:158 setgroups:116:159 setresuid:117:147 getresuid:118:148 setresgid:119:149
getresgid:120:150 getpgid:121:155 setfsuid:122:151 setfsgid:123:152 getsid:124:156 capget:125:90 capset:126:91
rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132 utime:132: mknod:133:
statfs:137:43 fstatfs:138:44 getpriority:140:141 setpriority:141:140 sched_setparam:142:118 sched_getparam:143:121
sched_setscheduler:144:119 sched_getscheduler:145:120 sched_get_priority_max:146:125 sched_get_priority_min:147:126
sched_rr_get_interval:148:127 prctl:157:167 arch_prctl:158: setrlimit:160:164 gettid:186:178 tkill:200:130 time:201:
futex:202:98 sched_setaffinity:203:122 sched_getaffinity:204:123 epoll_create:213: getdents64:217:61
set_tid_address:218:96 restart_syscall:219:128 fadvise64:221:223 timer_create:222:107 timer_settime:223:110
timer_gettime:224:108 timer_getoverrun:225:109 timer_delete:226:111 clock_gettime:228:113 clock_getres:229:114
clock_nanosleep:230:115 exit_group:231:94 epoll_wait:232: epoll_ctl:233:21 tgkill:234:131 utimes:235: waitid:247:95
openat:257:56 mkdirat:258:34 mknodat:259:33 fchownat:260:54 futimesat:261: newfstatat:262:79 unlinkat:263:35
renameat:264:38 linkat:265:37 symlinkat:266:36 readlinkat:267:78 fchmodat:268:53 faccessat:269:48 pselect6:270:72
ppoll:271:73 set_robust_list:273:99 get_robust_list:274:100 utimensat:280:88 epoll_pwait:281:22 signalfd:282:
timerfd_create:283:85 eventfd:284: fallocate:285:47 timerfd_settime:286:86 timerfd_gettime:287:87 accept4:288:242
signalfd4:289:74 eventfd2:290:19 epoll_create1:291:20 dup3:292:24 pipe2:293:59 preadv:295:69 pwritev:296:70
recvmmsg:299:243 prlimit64:302:261 sendmmsg:307:269 getcpu:309:168 renameat2:316:276 getrandom:318:278 execveat:322:281
membarrier:324:283 copy_file_range:326:285 preadv2:327:286 pwritev2:328:287 statx:332:291 rseq:334:293
pidfd_send_signal:424:424 pidfd_open:434:434 close_range:436:436 openat2:437:437 faccessat2:439:439
epoll_pwait2:441:441 fchmodat2:452:452 getxattr:191:8 lgetxattr:192:9 fgetxattr:193:10 listxattr:194:11
llistxattr:195:12 flistxattr:196:13
"""
"""`name:x86_64:aarch64`, the numbers of the allowed calls; an architecture without the call has no number."""
MACHINES: Final = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7)}
"""Column of `CALLS`, and AUDIT_ARCH_*. Programs of 32 bits have another architecture, and no call of theirs works."""

LOAD, EQUAL, AT_LEAST, ABOVE, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x06  # LD|W|ABS, JEQ, JGE, JGT, JSET, RET
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; an argument has 8 bytes, low half first
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO, to which the error is added

FAMILIES: Final = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: these are bounded by the network namespace, AF_VSOCK is not
PROTOCOLS: Final = (0, 1, 6, 17)  # the default, AF_UNIX's own, TCP, UDP: others load kernel modules
NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
TERMINAL_INPUT: Final = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type into a terminal
KERNEL_MEMORY: Final = (1026, 1031)  # F_NOTIFY and F_SETPIPE_SZ: a pipe stays at 64 KiB
HUGE_PAGES: Final = 0x40000  # MAP_HUGETLB
PROCESS: Final = (1, 2, 3, 4, 7, 8, 15, 16, 21, 23, 24, 27, 29, 30, 36, 37, 38, 39, 40, 41, 42, 47)
"""prctl(2): name, death signal, dumpable, timer slack, and what reads or drops rights; no memory maps, no filters."""
OPTIONS: Final = {  # socket options by level: none that reserves kernel memory (buffers, filters)
    1: (2, 3, 4, 5, 6, 9, 10, 12, 13, 15, 16, 18, 19, 20, 21, 29, 30, 38, 39),  # SOL_SOCKET
    6: (1, 3, 4, 5, 6, 12, 18),  # TCP: no delay, cork, keepalive, quick acknowledgement, user timeout
    41: (26,),  # IPv6: only IPv6
}

Instruction = tuple[int, int, int, int]
"""Operation, instructions to skip where a test holds, where it does not, and a constant."""


def filter_program(machine: str) -> bytes:
    """Return the filter for an architecture as an array of struct sock_filter; ValueError where there is none."""
    if machine not in MACHINES:
        raise ValueError(f"the sandbox needs one of the processors {', '.join(MACHINES)}; this one is {machine}")
    column, architecture = MACHINES[machine]
    rows = [row.split(":") for row in CALLS.split()]
    numbers = {row[0]: int(row[column]) for row in rows if row[column]}
    program: list[Instruction] = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), _refuse(errno.ENOSYS)]
    program.append((LOAD, 0, 0, NUMBER))
    for name, block in _conditions().items():
        program += [(EQUAL, 0, len(block), numbers.pop(name)), *block]
    for first, last in _ranges(numbers.values()):
        program += [(AT_LEAST, 0, 2, first), (ABOVE, 1, 0, last), (RETURN, 0, 0, ALLOW)]
    program.append(_refuse(errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _conditions() -> dict[str, list[Instruction]]:
    """Return the calls that depend on their arguments, with instructions that end in an answer."""
    family = [*_one_of(2, PROTOCOLS, errno.EPROTONOSUPPORT), *_one_of(0, FAMILIES, errno.EAFNOSUPPORT)]
    options: list[Instruction] = []
    for level, names in OPTIONS.items():
        block = [*_one_of(2, names, errno.EPERM), (RETURN, 0, 0, ALLOW)]
        options += [_load(1), (EQUAL, 0, len(block), level), *block]
    return {
        "socket": [*family, (RETURN, 0, 0, ALLOW)],
        "socketpair": [*family, (RETURN, 0, 0, ALLOW)],
        "clone": _no_bit(0, NEW_NAMESPACES),
        "mmap": _no_bit(3, HUGE_PAGES),
        "ioctl": _none_of(1, TERMINAL_INPUT),
        "fcntl": _none_of(1, KERNEL_MEMORY),
        "prctl": [*_one_of(0, PROCESS, errno.EPERM), (RETURN, 0, 0, ALLOW)],
        "setsockopt": [*options, _refuse(errno.EPERM)],
    }


def _load(argument: int) -> Instruction:
    """Load the low half of an argument; the kernel reads no more of those that are tested here."""
    return LOAD, 0, 0, ARGUMENTS + 8 * argument


def _refuse(error: int) -> Instruction:
    return RETURN, 0, 0, REFUSE | error


def _one_of(argument: int, allowed: Sequence[int], error: int) -> list[Instruction]:
    """Refuse a call unless an argument has one of these values; else go on after these instructions."""
    tests = [(EQUAL, len(allowed) - i, 0, value) for i, value in enumerate(allowed)]
    return [_load(argument), *tests, _refuse(error)]


def _none_of(argument: int, refused: Sequence[int]) -> list[Instruction]:
    """Allow a call unless an argument has one of these values."""
    tests = [(EQUAL, len(refused) - i, 0, value) for i, value in enumerate(refused)]
    return [_load(argument), *tests, (RETURN, 0, 0, ALLOW), _refuse(errno.EPERM)]


def _no_bit(argument: int, bits: int) -> list[Instruction]:
    """Allow a call unless an argument has one of these bits."""
    return [_load(argument), (ANY_BIT, 0, 1, bits), _refuse(errno.EPERM), (RETURN, 0, 0, ALLOW)]


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of every run of consecutive numbers."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
