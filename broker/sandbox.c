// SPDX-License-Identifier: BSD-2-Clause
/*
 * Seccomp and Landlock. The engine gets all it captures from by descriptor, so
 * it needs no socket(), bind(), connect(), setsockopt() or dup(), and sends
 * only where it is connected already.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#else
#define IS_SANITIZED 0
#endif

/* Allowed with any argument. A test knows of each who makes it. */
static const int calls[] = {
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect),
	SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(memfd_create),
	SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(fchmod),
	/* descriptors */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(close), SCMP_SYS(newfstatat), SCMP_SYS(eventfd2),
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
	SCMP_SYS(poll), SCMP_SYS(ppoll),
	/* clients and warden: on connections that there are */
	SCMP_SYS(accept4), SCMP_SYS(getsockopt), SCMP_SYS(sendmsg),
	SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(shutdown),
	/* threads and time */
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_setscheduler), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall), SCMP_SYS(sysinfo), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(tgkill), /* abort(): itself, or it has
						 * CAP_KILL, which it has not */
};

/* What a sanitizer's run time does besides; leak checks fork and trace. */
static const int sanitizer_calls[] = {
	SCMP_SYS(clone),       SCMP_SYS(ptrace),      SCMP_SYS(wait4),
	SCMP_SYS(prctl),       SCMP_SYS(kill),	      SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),  SCMP_SYS(getdents64),  SCMP_SYS(getdents),
	SCMP_SYS(open),	       SCMP_SYS(openat),      SCMP_SYS(getuid),
	SCMP_SYS(getppid),     SCMP_SYS(prlimit64),   SCMP_SYS(stat),
	SCMP_SYS(pipe2),       SCMP_SYS(access),      SCMP_SYS(getrusage),
	SCMP_SYS(personality), SCMP_SYS(sigaltstack), SCMP_SYS(sched_yield),
	SCMP_SYS(getrandom),   SCMP_SYS(fstat),	      SCMP_SYS(nanosleep),
	SCMP_SYS(geteuid),     SCMP_SYS(lseek),
};

static int allow_all(scmp_filter_ctx filter, const int *list, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, list[i], 0);
	return err;
}

/* Allowed only in the form that the engine uses. */
static int allow_forms(scmp_filter_ctx filter)
{
	int err;

	/* Threads, never processes. clone3 hides its flags: libc then takes
	 * the older call. */
	err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD,
				       CLONE_THREAD));
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
				       SCMP_SYS(clone3), 0);
	/* Bells go to the peer; an address would make it a choice. */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto),
				       1, SCMP_A4(SCMP_CMP_EQ, 0, 0));
	/* in /proc: what is handed out, to open it read-only; peers' names */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat),
				       1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ,
					       O_ACCMODE | O_CREAT, O_RDONLY));
	/* what a client has not read yet */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl),
				       1, SCMP_A1(SCMP_CMP_EQ, SIOCOUTQ, 0));
	for (int command = 0; !err && command < 3; command++) {
		static const uint64_t commands[] = { F_ADD_SEALS, F_GETFL,
						     F_GETFD };

		err = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
			SCMP_A1(SCMP_CMP_EQ, commands[command], 0));
	}
	return err;
}

static int enter_seccomp(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err;

	if (!filter)
		return -ENOMEM;
	err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = allow_all(filter, calls, sizeof(calls) / sizeof(*calls));
	if (!err && IS_SANITIZED)
		err = allow_all(filter, sanitizer_calls,
				sizeof(sanitizer_calls) /
					sizeof(*sanitizer_calls));
	if (!err)
		err = allow_forms(filter);
	if (!err)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err;
}

/* --------------------------------------------------------------- Landlock */

static int allow_reading(int ruleset, const char *path)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE,
		.parent_fd = open(path, O_PATH | O_CLOEXEC),
	};
	int err;

	if (rule.parent_fd < 0)
		return -errno;
	err = syscall(SYS_landlock_add_rule, ruleset,
		      LANDLOCK_RULE_PATH_BENEATH, &rule, 0) ?
		      -errno :
		      0;
	close(rule.parent_fd);
	return err;
}

static int enter_landlock(void)
{
	/* All rights of the first version: everything but reading is gone. */
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1,
	};
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr,
				   sizeof(attr), 0);
	int err;

	if (ruleset < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
		log_warn("this kernel has no Landlock for the engine");
		return 0;
	}
	if (ruleset < 0)
		return -errno;
	err = allow_reading(ruleset, "/proc");
	if (!err && syscall(SYS_landlock_restrict_self, ruleset, 0))
		err = -errno;
	close(ruleset);
	return err;
}

int sandbox_enter(void)
{
	int err = 0;

	/* A leak check reads the program's own files. */
	if (!IS_SANITIZED)
		err = enter_landlock();
	return err ? err : enter_seccomp();
}
