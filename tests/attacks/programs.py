"""Programs that attack: each tries one thing, and prints ESCAPED only if it gets it.

$HOME, $PORT, $SOCKET, $PID and $PROJECT stand for bait that `outer` lays out: a home with secrets, a server on
loopback, an abstract socket, a process, this clone.
"""

from dataclasses import dataclass, field
from textwrap import dedent, indent

from nblib.sandbox import Job, Script

CONTAINED = ("ok", "runtime_error", "time_out", "out_of_memory")
SMALL = {"cpu_seconds": 1.0, "wall_seconds": 30.0, "memory_bytes": 2**28, "output_bytes": 2**16}
BRIEF = {"cpu_seconds": 0.5}
ASLEEP = {"wall_seconds": 2.0}


@dataclass(frozen=True)
class Attack:
    """A job, and the statuses that are allowed to come of it."""

    name: str
    job: Job
    statuses: tuple[str, ...] = CONTAINED
    limits: dict = field(default_factory=dict)  # those that differ from SMALL


def script(name: str, code: str, *statuses: str, **limits) -> Attack:
    return Attack(name, Script(dedent(code)), statuses or CONTAINED, limits)


def attempt(name: str, code: str, *statuses: str, **limits) -> Attack:
    """Code that has escaped if it raises no OSError."""
    body = indent(dedent(code).strip() + "\nprint('ESCAPED')", "    ")
    return script(name, f"try:\n{body}\nexcept OSError as error:\n    print(error)", *statuses, **limits)


def call(name: str, function: str, *arguments: str) -> Attack:
    """A call into the C library that must be refused."""
    code = f"""
        import ctypes, os
        result = ctypes.CDLL(None, use_errno=True).{function}({", ".join(arguments)})
        print("ESCAPED" if result >= 0 else os.strerror(ctypes.get_errno()))
    """
    return script(name, code, "ok")


def number(intel: int, arm: int) -> str:
    """A system call's number, in the program's own words."""
    return f"{{'x86_64': {intel}, 'aarch64': {arm}}}[os.uname().machine]"


def stubborn(action: str) -> str:
    """That again and again, whatever comes."""
    return f"import os\nwhile True:\n    try: {action}\n    except OSError: pass"


EXHAUSTION = [
    script("fork bomb", "import os\nwhile True: os.fork()", "runtime_error", "time_out", **BRIEF),
    script("stubborn fork bomb", stubborn("os.fork()"), "time_out", **BRIEF),
    script(
        "thread bomb",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
        "runtime_error", "time_out", "out_of_memory",
        **ASLEEP,
    ),
    script("memory bomb", "kept = []\nwhile True: kept.append(bytearray(10**7))", "out_of_memory"),
    script("one large block", "bytearray(10**10)", "out_of_memory"),
    script("memory of many processes", """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                kept = bytearray(b"x" * 10**8)
                break
        time.sleep(99)
        """, "out_of_memory"),
    script("endless output", "while True: print('x' * 1000)", "runtime_error"),
    script("endless errors", "import sys\nwhile True: print('x' * 1000, file=sys.stderr)", "runtime_error"),
    script("endless loop", "while True: pass", "time_out", **BRIEF),
    script("endless loop in C", "sum(range(10**13))", "time_out", **BRIEF),
    script("endless match", "import re\nre.match('(a+)+b', 'a' * 60)", "time_out", **BRIEF),
    script("loops in many processes", "import os\nfor _ in range(3): os.fork()\nwhile True: pass", "time_out", **BRIEF),
    script("sleep", "import time\ntime.sleep(999)", "time_out", **ASLEEP),
    script("stops itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "time_out", **ASLEEP),
    script("waits for a pipe", "import os\nos.mkfifo('pipe')\nopen('pipe')", "time_out", **ASLEEP),
    script(
        "stack overflow",
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr(self)\nrepr(A())",
        "runtime_error", "time_out", "out_of_memory",
    ),
    script("crash", "import ctypes\nctypes.string_at(0)", "runtime_error"),
    script("large file", "file = open('large', 'wb')\nwhile True: file.write(b'x' * 2**20)", "runtime_error"),
    script("full disk", "for n in range(10**6): open(str(n), 'wb').write(b'x' * 2**22)", "runtime_error", "time_out"),
    script("many files", "for n in range(10**6): open(str(n), 'w').close()", "runtime_error", "time_out"),
    script("many open files", "kept = [open('/dev/null') for _ in range(10**5)]", "runtime_error"),
    script("higher limits", """
        import resource
        for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
            try: resource.setrlimit(kind, (-1, -1)); print("ESCAPED")
            except (OSError, ValueError): pass
        """, "ok"),
    attempt("higher priority", "import os\nos.nice(-20)", "ok"),
]  # fmt: skip

FILES = [
    attempt("write to the home", "open('$HOME/new', 'w').write('x')", "ok"),
    attempt("change a file", "open('$HOME/keep', 'a').write('x')", "ok"),
    attempt("delete a file", "import os\nos.remove('$HOME/keep')", "ok"),
    attempt("delete everything",
            "import shutil\nshutil.rmtree('$HOME')\nshutil.rmtree('$PROJECT/tests/attacks')", "ok"),
    attempt("read a private key", "print(open('$HOME/.ssh/id_rsa').read())", "ok"),
    attempt("read /etc/shadow", "print(open('/etc/shadow').read())", "ok"),
    attempt("read the project", "print(open('$PROJECT/pyproject.toml').read())", "ok"),
    attempt("list the home", "import os\nprint(os.listdir('$HOME'))", "ok"),
    attempt("list root's home",
            "import os\nprint([os.listdir(os.path.join('/root', each)) for each in ('', '.ssh', '.config')])", "ok"),
    script("environment", """
        import glob, os
        print(dict(os.environ))
        for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
            try: print(open(path).read())
            except OSError: pass
        """, "ok"),
    attempt("write into the library", "import os\nopen(os.__file__, 'a').write('#')", "ok"),
    attempt("write into site-packages",
            "import sysconfig\nopen(sysconfig.get_path('purelib') + '/evil.pth', 'w')", "ok"),
    attempt("write to /var/tmp", "open('/var/tmp/escaped', 'w').write('x')", "ok"),
    attempt("through a symbolic link",
            "import os\nos.symlink('$HOME/keep', 'link')\nopen('link', 'a').write('x')", "ok"),
    attempt("through a linked folder", "import os\nos.symlink('$HOME', 'folder')\nos.remove('folder/keep')", "ok"),
    attempt("through a hard link", "import os\nos.link('$HOME/keep', 'link')\nopen('link', 'a').write('x')", "ok"),
    attempt("all the way up", "open('../' * 20 + '$HOME/keep', 'a').write('x')", "ok"),
    attempt("through /proc/self/root", "open('/proc/self/root$HOME/keep', 'a').write('x')", "ok"),
    script("closed folders", "import os\nos.mkdir('a')\nopen('a/b', 'w')\nos.chmod('a', 0)\nos.chmod('.', 0)", "ok"),
    script("a very deep folder", "import os\nfor _ in range(500): os.mkdir('d'); os.chdir('d')", "ok", "runtime_error"),
    script("a folder full of links",
           "import os\nos.symlink('$HOME', 'x')\nfor n in range(99): os.symlink('/', f'{n}')", "ok"),
    script("shared memory file",
           "open('/dev/shm/left', 'w').write('x')\nopen('left', 'w').write('x')", "ok", "runtime_error"),
    script("shell",
           "import subprocess\nsubprocess.run('echo x >> $HOME/keep', shell=True, check=True)", "runtime_error"),
]  # fmt: skip

NETWORK = [
    attempt("loopback", "import socket\nsocket.create_connection(('127.0.0.1', $PORT), 1)", "ok"),
    attempt("loopback, version 6", "import socket\nsocket.create_connection(('::1', $PORT), 1)", "ok"),
    attempt("outside", "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)", "ok"),
    attempt("datagram",
            "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', $PORT))", "ok"),
    attempt("abstract socket", "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0$SOCKET')", "ok"),
    attempt("socket in the home", "import socket\nsocket.socket(socket.AF_UNIX).connect('$HOME/socket')", "ok"),
    attempt("listen", "import socket\nsocket.create_server(('127.0.0.1', 0))", "ok"),
    attempt("packet socket", "import socket\nsocket.socket(17, socket.SOCK_RAW)", "ok"),
    attempt("download", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:$PORT/', timeout=1)", "ok"),
]  # fmt: skip

OTHERS = [
    script("kill the parent", "import os\nos.kill(os.getppid(), 15)\nos.kill(os.getppid(), 9)"),
    script("kill everybody", "import os\nos.kill(-1, 9)"),
    script("kill a process",
           "import os\nfor pid in ($PID, -$PID):\n    try: os.kill(pid, 9)\n    except OSError: pass", "ok"),
    script("kill a range", """
        import os
        for pid in range(1, 70000):
            try:
                if pid != os.getpid(): os.kill(pid, 9)
            except OSError: pass
        """),
    call("ptrace the parent", "ptrace", "16", "os.getppid()", "0", "0"),
    call("ptrace a process", "ptrace", "16", "$PID", "0", "0"),
    attempt("memory of the parent", "import os\nopen(f'/proc/{os.getppid()}/mem', 'r+b')", "ok"),
    attempt("memory of the first process", "open('/proc/1/mem', 'rb').read(1)", "ok"),
    call("read from a process", "process_vm_readv", "$PID", "0", "0", "0", "0", "0"),
    call("mount", "mount", 'b"none"', 'b"/program"', 'b"tmpfs"', "0", "None"),
    call("unmount", "umount2", 'b"/program"', "2"),
    call("new user namespace", "unshare", "0x10000000"),
    call("new process in a namespace", "syscall", number(56, 220), "0x10000011", "0", "0", "0", "0"),
    call("new root", "chroot", 'b"."'),
    call("keys", "syscall", number(250, 219), "0", "-3", "1"),
    call("bpf", "syscall", number(321, 280), "0", "0", "0"),
    call("io_uring", "syscall", "425", "1", "b'x' * 200"),
    call("userfaultfd", "syscall", number(323, 282), "1"),
    call("shared memory", "shmget", "0", "1 << 20", "0o1600"),
    call("memory file", "memfd_create", 'b"x"', "0"),
    call("host name", "sethostname", 'b"x"', "1"),
    call("open by handle", "syscall", number(304, 265), "0", "0", "0"),
    script("type into the terminal", """
        import fcntl
        for number in range(3):
            try: fcntl.ioctl(number, 0x5412, b"x"); print("ESCAPED")
            except OSError: pass
        """, "ok"),
    script("become root", """
        import os
        for change in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
            try: change() if os.getuid() else None
            except OSError: pass
        status = open("/proc/self/status").read()
        print("ESCAPED" if "CapEff:\\t0000000000000000" not in status or os.getuid() == 0 else "refused")
        """, "ok", "runtime_error"),
    script("setuid programs", """
        import subprocess
        for each in ("su -c id", "sudo -n id", "newgrp root -c id", "mount", "passwd"):
            done = subprocess.run(each, shell=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            print("ESCAPED" if "uid=0" in done.stdout else done.returncode)
        """, "ok", "time_out", "runtime_error"),
    script("see other processes",
           "import os\nprint('ESCAPED' if len([p for p in os.listdir('/proc') if p.isdigit()]) > 2 else 1)",
           "ok", "runtime_error"),
    script("open files", """
        import os
        for number in range(3, 300):
            try: os.write(number, b"x" * 100); print("ESCAPED")
            except OSError: pass
        """, "ok"),
]  # fmt: skip

STAYING = [
    script("double fork", """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                time.sleep(999)
            os._exit(0)
        os.wait()
        """, "ok"),
    script(
        "many daemons",
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(999)",
        "ok",
    ),
    script("daemon that ignores signals", """
        import os, signal, time
        if os.fork() == 0:
            for number in signal.valid_signals():
                try: signal.signal(number, signal.SIG_IGN)
                except OSError: pass
            while True: time.sleep(99)
        """, "ok"),
    script("ignores SIGTERM and SIGXCPU", """
        import signal
        for each in (signal.SIGTERM, signal.SIGXCPU, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        while True: pass
        """, "time_out", **BRIEF),
    script(
        "thread that outlives main",
        "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start()",
        "time_out",
        **BRIEF,
    ),
    script(
        "daemon thread",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(999,), daemon=True).start()",
        "ok",
    ),
    script("endless exit handler",
           "import atexit\n@atexit.register\ndef spin():\n    while True: pass", "time_out", **BRIEF),
    script(
        "exit handler that forks",
        "import atexit, os, time\n@atexit.register\ndef stay():\n    if os.fork() == 0: time.sleep(999)",
        "ok",
    ),
    script(
        "endless finalizer",
        "class Stay:\n    def __del__(self):\n        while True: pass\nstay = Stay()\ndel stay",
        "time_out",
        **BRIEF,
    ),
    script("background shell", "import os\nos.system('sleep 999 & (trap \"\" TERM HUP; sleep 999) &')", "ok"),
]  # fmt: skip

ATTACKS = EXHAUSTION + FILES + NETWORK + OTHERS + STAYING
