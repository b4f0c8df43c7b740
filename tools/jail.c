/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The jail of `netring run`. Landlock says which files can be opened, seccomp
 * which calls can be made: those that loading a program, reading captures,
 * memory, writing to what is open, and leaving need. Any other call fails with
 * EPERM, so that the command can say what it missed.
 *
 * Seccomp has to let the command in, and nothing after it. A filter cannot
 * count, and what it sees of a path is a pointer; but it can leave the decision
 * to whoever listens. That is a thread, which says yes once; the execution ends
 * it and closes the listener, and where nobody listens the answer is ENOSYS.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <seccomp.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <netring.h>

#include "jail.h"

#ifdef __SANITIZE_ADDRESS__
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

/* --------------------------------------------------------------- Landlock */

#define READ LANDLOCK_ACCESS_FS_READ_FILE
#define EXECUTE LANDLOCK_ACCESS_FS_EXECUTE
#define LIST LANDLOCK_ACCESS_FS_READ_DIR

/* Of what version each right is; headers may be older than the kernel. */
static uint64_t all_rights(long version)
{
	if (version >= 5)
		return (UINT64_C(1) << 16) - 1; /* ... and ioctl of devices */
	if (version >= 3)
		return (UINT64_C(1) << 15) - 1; /* ... and truncation */
	if (version == 2)
		return (UINT64_C(1) << 14) - 1; /* ... and links elsewhere */
	return (UINT64_C(1) << 13) - 1;
}

static int allow_file(int jail, int fd, uint64_t rights)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = fd };
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	rule.allowed_access = S_ISDIR(st.st_mode) ? rights : rights & ~LIST;
	return syscall(SYS_landlock_add_rule, jail, LANDLOCK_RULE_PATH_BENEATH,
		       &rule, 0) ?
		       -errno :
		       0;
}

static int allow_path(int jail, const char *path, uint64_t rights)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = allow_file(jail, fd, rights);
	close(fd);
	return err;
}

/* To execute are the loaders among them. */
static int allow_loading(int jail)
{
	static const char *const paths[] = {
		"/lib",		  "/lib32",	      "/lib64",
		"/usr/lib",	  "/usr/lib32",	      "/usr/lib64",
		"/usr/local/lib", "/etc/ld.so.cache",
	};
	Dl_info library;
	int err = 0;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths) && !err; i++) {
		err = allow_path(jail, paths[i], READ | EXECUTE);
		if (err == -ENOENT)
			err = 0;
	}
	/* libnetring may have been installed elsewhere: where ours is. */
	if (!err && dladdr((void *)(uintptr_t)nr_version, &library))
		err = allow_path(jail, library.dli_fname, READ);
	/* A sanitizer's run time looks at its own process. */
	if (!err && IS_SANITIZED)
		err = allow_path(jail, "/proc", READ);
	return err;
}

int jail_new(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr;
	int jail, err;

	if (version < 0)
		return -errno;
	attr = (struct landlock_ruleset_attr){ .handled_access_fs =
						       all_rights(version) };
	jail = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr),
			    0);
	if (jail < 0)
		return -errno;
	err = allow_loading(jail);
	if (!err)
		return jail;
	close(jail);
	return err;
}

int jail_allow_reading(int jail, const char *path)
{
	return allow_path(jail, path, READ | LIST);
}

int jail_allow_command(int jail, int command)
{
	return allow_file(jail, command, READ | EXECUTE);
}

/* ---------------------------------------------------------------- seccomp */

/* Allowed with any argument. */
static const int calls[] = {
	/* memory */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	/* what is open */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(lseek),
	SCMP_SYS(close),
	SCMP_SYS(fstat),
	SCMP_SYS(getdents64),
	/* names; what may be opened is Landlock's business */
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(stat),
	SCMP_SYS(lstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getcwd),
	/* captures */
	SCMP_SYS(recvfrom),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	/* a process and its time */
	SCMP_SYS(arch_prctl),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(futex),
	SCMP_SYS(getrandom),
	SCMP_SYS(uname),
	SCMP_SYS(sysinfo),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getrlimit),
	SCMP_SYS(getrusage),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(time),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* Allowed where these bits of an argument have this value. */
static const struct {
	int call;
	unsigned argument;
	uint64_t mask;
	uint64_t value;
} forms[] = {
#define NOT_TO_WRITE (O_ACCMODE | O_CREAT | O_TRUNC), O_RDONLY
#define EXACTLY UINT64_MAX
#define WRITE_AND_RUN (PROT_WRITE | PROT_EXEC)
	/* libraries are loaded; nothing is to run that can be written */
	{ SCMP_SYS(mmap), 2, WRITE_AND_RUN, 0 },
	{ SCMP_SYS(mmap), 2, WRITE_AND_RUN, PROT_WRITE },
	{ SCMP_SYS(mmap), 2, WRITE_AND_RUN, PROT_EXEC },
	{ SCMP_SYS(mprotect), 2, WRITE_AND_RUN, 0 },
	{ SCMP_SYS(mprotect), 2, WRITE_AND_RUN, PROT_WRITE },
	{ SCMP_SYS(mprotect), 2, WRITE_AND_RUN, PROT_EXEC },
	{ SCMP_SYS(open), 1, NOT_TO_WRITE },
	{ SCMP_SYS(openat), 2, NOT_TO_WRITE },
	/* what nr_capture_open_inherited() looks at, and close-on-exec */
	{ SCMP_SYS(fcntl), 1, EXACTLY, F_GETFD },
	{ SCMP_SYS(fcntl), 1, EXACTLY, F_SETFD },
	{ SCMP_SYS(fcntl), 1, EXACTLY, F_GETFL },
	{ SCMP_SYS(fcntl), 1, EXACTLY, F_GET_SEALS },
	/* whether stdout is a terminal; nothing that types into one */
	{ SCMP_SYS(ioctl), 1, EXACTLY, TCGETS },
	{ SCMP_SYS(prctl), 0, EXACTLY, PR_SET_NAME },
	/* limits can be read */
	{ SCMP_SYS(prlimit64), 2, EXACTLY, 0 },
};

static int allow_forms(scmp_filter_ctx filter)
{
	int err = 0;

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms) && !err; i++)
		err = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, forms[i].call, 1,
			SCMP_CMP64(forms[i].argument, SCMP_CMP_MASKED_EQ,
				   forms[i].mask, forms[i].value));
	/* abort(): the pid stays, as the command is not a process of its own */
	if (!err)
		err = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			SCMP_A0(SCMP_CMP_EQ, (uint64_t)getpid(), 0));
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
				       SCMP_SYS(execveat), 0);
	return err;
}

/* Returns the listener, or -errno. */
static int enter_seccomp(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err = 0;

	if (!filter)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls) && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	if (!err)
		err = allow_forms(filter);
	if (!err)
		err = seccomp_load(filter);
	/* Not released: the listener is its. */
	return err ? err : seccomp_notify_fd(filter);
}

/* ----------------------------------------------------------------- the door */

static struct door {
	sem_t is_shut;
	int listener;
} door;

/* Outside of the jail, as long as it is there. */
__attribute__((noreturn)) static void *open_door(void *data)
{
	struct seccomp_notif *request;
	struct seccomp_notif_resp *answer;

	(void)data;
	while (sem_wait(&door.is_shut))
		;
	if (seccomp_notify_alloc(&request, &answer) == 0 &&
	    seccomp_notify_receive(door.listener, request) == 0) {
		answer->id = request->id;
		answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		seccomp_notify_respond(door.listener, answer);
	}
	for (;;)
		pause();
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	const struct __user_cap_data_struct none[2] = { { 0, 0, 0 } };

	/* Without this the execution would give root all of them again. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_capset, &header, none))
		return -errno;
	return 0;
}

/* No process beside it, should seccomp have a hole; no packets on a disk. */
static int set_limits(void)
{
	const struct rlimit none = { 0, 0 };

	return setrlimit(RLIMIT_NPROC, &none) || setrlimit(RLIMIT_CORE, &none) ?
		       -errno :
		       0;
}

int jail_enter(int jail)
{
	pthread_t thread;
	int err;

	if (sem_init(&door.is_shut, 0, 0))
		return -errno;
	err = -pthread_create(&thread, NULL, open_door, NULL);
	if (!err)
		err = drop_capabilities();
	if (!err)
		err = set_limits();
	if (!err && syscall(SYS_landlock_restrict_self, jail, 0))
		err = -errno;
	if (err)
		return err;
	door.listener = enter_seccomp();
	if (door.listener < 0)
		return door.listener;
	return sem_post(&door.is_shut) ? -errno : 0;
}
