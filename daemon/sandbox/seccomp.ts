/**
 * The system calls a sandbox may make (S2, S4). Pure.
 *
 * It follows moby's current default list rather than the engine's own, which on older engines still lets
 * io_uring, vsock and 32-bit calls through, and leaves out what no agent's command needs: tracing, keyrings,
 * namespaces, kernel crypto. Names a kernel or libseccomp does not know are ignored by the engine.
 */

interface Argument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: "SCMP_CMP_EQ" | "SCMP_CMP_MASKED_EQ";
}

interface Rule {
  readonly names: readonly string[];
  readonly action: "SCMP_ACT_ALLOW" | "SCMP_ACT_ERRNO";
  readonly errnoRet?: number;
  readonly args?: readonly Argument[];
}

const ENOSYS = 38;

/** Every CLONE_NEW* flag that clone(2) takes: cgroup, mount, UTS, IPC, user, PID and network namespaces. */
const NAMESPACE_FLAGS = 0x7e020000;

/** Address families: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Any other loads kernel modules or leaves the sandbox. */
const UNIX = 1;
const INTERNET = [2, 10];
const NETLINK = 16;
/** Of IP: default, ICMP, TCP, UDP, ICMPv6, MPTCP. SCTP, DCCP, L2TP and the like are modules nobody asked for. */
const IP_PROTOCOLS = [0, 1, 6, 17, 58, 262];
/** Of netlink: routes only, which name resolution and interface lists read. */
const NETLINK_ROUTE = 0;

/** personality(2): Linux, 32-bit-like variants without address randomisation changes, and "tell me". */
const PERSONALITIES = [0x0, 0x0008, 0x20000, 0x20008, 0xffffffff];

/** Allowed whatever the arguments, by what they are about. */
const ALLOWED: Readonly<Record<string, string>> = {
  files: `access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs
    fsync ftruncate futimesat getcwd getdents getdents64 ioctl lchown link linkat lseek lstat mkdir mkdirat mknod
    mknodat name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile splice stat statfs statx
    symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes
    vmsplice write writev listmount statmount`,
  attributes: `fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
    llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat`,
  waiting: `epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch pause poll ppoll pselect6 select signalfd signalfd4`,
  asynchronousFiles: "io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit",
  memory: `brk cachestat madvise map_shadow_stack membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect
    mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease
    remap_file_pages`,
  processes: `execve execveat exit exit_group fork vfork wait4 waitid getpgid getpgrp getpid getppid getsid
    getpriority setpriority setpgid setsid gettid prctl arch_prctl seccomp capget capset getrlimit setrlimit
    prlimit64 getrusage get_robust_list set_robust_list get_thread_area set_thread_area set_tid_address rseq
    restart_syscall pidfd_open ioprio_get ioprio_set`,
  identities: `getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups setregid
    setresgid setresuid setreuid setuid`,
  signals: `kill tkill tgkill pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack`,
  threads: `futex futex_requeue futex_wait futex_waitv futex_wake sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield getcpu`,
  time: `adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep
    setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
    timerfd_gettime timerfd_settime times`,
  sockets: `accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg
    sendmsg sendto setsockopt shutdown socketpair`,
  messages: `mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd pipe
    pipe2 semctl semget semop semtimedop shmat shmctl shmdt shmget`,
  system: "getrandom sysinfo uname",
  landlock: "landlock_add_rule landlock_create_ruleset landlock_restrict_self",
};

/** Answered "not implemented", because programs then fall back to what is allowed. */
const NOT_IMPLEMENTED = ["clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"];

/**
 * Only the machine's own architecture: through a second one, such as i386 on x86_64, calls would pass under
 * other numbers and `socketcall` would hide the address family.
 */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  amd64: "SCMP_ARCH_X86_64",
  arm64: "SCMP_ARCH_AARCH64",
};

const equal = (index: number, value: number): Argument => ({ index, value, op: "SCMP_CMP_EQ" });
const allow = (name: string, ...args: Argument[]): Rule => ({
  names: [name],
  action: "SCMP_ACT_ALLOW",
  args,
});

/**
 * The profile as the JSON text that the engine takes inline.
 * @param architecture the engine's, as Docker names it
 * @throws {Error} for an architecture we have no profile for: no sandbox is better than an open one
 */
export function seccompProfile(architecture: string): string {
  const name = ARCHITECTURES[architecture];
  if (name === undefined) {
    const known = Object.keys(ARCHITECTURES).join(" and ");
    throw new Error(`no seccomp profile for the engine's architecture ${architecture}: only for ${known}`);
  }
  return JSON.stringify({ defaultAction: "SCMP_ACT_ERRNO", architectures: [name], syscalls: rules() });
}

function rules(): Rule[] {
  return [
    { names: Object.values(ALLOWED).flatMap((text) => text.split(/\s+/)), action: "SCMP_ACT_ALLOW" },
    { names: NOT_IMPLEMENTED, action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
    allow("clone", { index: 0, value: NAMESPACE_FLAGS, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }),
    ...PERSONALITIES.map((value) => allow("personality", equal(0, value))),
    allow("socket", equal(0, UNIX)),
    allow("socket", equal(0, NETLINK), equal(2, NETLINK_ROUTE)),
    ...INTERNET.flatMap((family) =>
      IP_PROTOCOLS.map((protocol) => allow("socket", equal(0, family), equal(2, protocol))),
    ),
  ];
}
