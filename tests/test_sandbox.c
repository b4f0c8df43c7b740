/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a packet or a client that takes over the engine could call: it may make
 * the calls that it makes anyway, and the others kill it.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/if_packet.h>
#include <linux/memfd.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "command.h"
#include "config.h"
#include "ledger.h"
#include "live.h"
#include "region.h"
#include "sandbox.h"
#include "scene.h"

#define UID 12345
#define CALL_NUMBERS 512 /* of this architecture there are fewer */
/* The kernel's own, for probes: no filter sees them, and they kill. */
#define CALL_URETPROBE 335
#define CALL_UPROBE 336

TestSuite(sandbox, .timeout = 240);

/* ------------------------------------------------------- calls from inside it
 */

struct attempt {
	const char *name;
	long number;
	long args[6];
	int err; /* what it fails with; -1: it kills */
};

static const char *const no_arguments[] = { NULL };

/* In the sandbox, as a user. Exit status: how it failed. */
static int attempt(void *data)
{
	const struct attempt *a = data;
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	/* As the warden leaves it; and it has said what there was to say. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || region_init() ||
	    sandbox_enter(true))
		return 200;
	if (syscall(a->number, a->args[0], a->args[1], a->args[2], a->args[3],
		    a->args[4], a->args[5]) >= 0)
		return 0;
	return errno < 200 ? errno : 199;
}

static int attempt_as(uid_t uid, const struct attempt *a)
{
	return child_wait(child_start(uid, attempt, (void *)(uintptr_t)a));
}

static struct sockaddr_ll to_interface = { .sll_family = AF_PACKET,
					   .sll_ifindex = 1 };

#define KILLS -1
#define CALL(name, ...)                                                        \
	{                                                                      \
#name, SYS_##name, { __VA_ARGS__ }, KILLS                      \
	}
#define WORD(text) (long)(uintptr_t)(text)
#define THREAD (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)

/* For calls to write to. */
static uint8_t page[4096] __attribute__((aligned(4096)));

/* Allowed elsewhere, and not to who is given sockets that send. */
static const struct attempt forbidden_to_the_mapper[] = {
	CALL(sendto, 0, 0, 0, 0, 0, 0),
	CALL(sendmsg, 0, 0, 0),
	CALL(write, 0, 0, 0),
	CALL(writev, 0, 0, 0),
	CALL(read, 0, 0, 0),
	CALL(recvfrom, 0, 0, 0, 0, 0, 0),
	CALL(accept4, 0, 0, 0, 0),
	CALL(getsockopt, 0, 0, 0, 0, 0),
	CALL(epoll_ctl, 0, 0, 0, 0),
	CALL(ioctl, 0, SIOCOUTQ, 0),
	CALL(fcntl, 0, F_ADD_SEALS, 0),
	CALL(memfd_create, 0, 0),
#ifndef __SANITIZE_ADDRESS__ /* whose run time does it */
	CALL(clone, THREAD, 0, 0, 0, 0),
#endif
	CALL(tgkill, 0, 0, 0),
	CALL(sched_setscheduler, 0, SCHED_FIFO, 0),
	CALL(munmap, 0, 0),
	CALL(mremap, 0, 0, 0, 0),
};

static const struct attempt forbidden[] = {
	CALL(socket, AF_PACKET, SOCK_RAW, 0),
	CALL(socket, AF_INET, SOCK_DGRAM, 0),
	CALL(socket, AF_UNIX, SOCK_STREAM, 0),
	CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, WORD(&to_interface)),
	CALL(connect, 0, WORD(&to_interface), sizeof(to_interface)),
	CALL(bind, 0, WORD(&to_interface), sizeof(to_interface)),
	CALL(listen, 0, 1),
	CALL(accept, 0, 0, 0),
	CALL(setsockopt, 0, SOL_SOCKET, SO_DETACH_FILTER, 0, 0),
	CALL(sendto, 0, 0, 0, 0, WORD(&to_interface), sizeof(to_interface)),
	CALL(sendmmsg, 0, 0, 0, 0),
	CALL(dup, 0),
	CALL(dup2, 0, 1),
	CALL(dup3, 0, 1, 0),
	CALL(fcntl, 0, F_DUPFD, 0),
	CALL(fcntl, 0, F_SETFL, 0),
	CALL(fcntl, 0, F_SETOWN, 1),
	CALL(mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
	     -1, 0),
	CALL(mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	CALL(mprotect, WORD(&page), 4096, PROT_READ | PROT_EXEC),
	CALL(mprotect, WORD(&page), 4096, PROT_WRITE | PROT_EXEC),
	CALL(pkey_mprotect, WORD(&page), 4096, PROT_READ | PROT_EXEC, -1),
	CALL(fallocate, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1),
	CALL(fcntl, 0, F_SETLEASE, F_RDLCK),
	CALL(fcntl, 0, F_NOTIFY, 1),
	CALL(sched_setscheduler, 1, SCHED_FIFO, 0),
	CALL(sched_getscheduler, 1),
	CALL(sched_setaffinity, 1, 0, 0),
	CALL(openat2, AT_FDCWD, WORD("/etc/passwd"), 0, 0),
	CALL(creat, WORD("/nonesuch/x"), 0600),
	CALL(unlink, WORD("/nonesuch/x")),
	CALL(mkdir, WORD("/nonesuch/x"), 0700),
	CALL(rename, WORD("/nonesuch/x"), WORD("/nonesuch/y")),
	CALL(chmod, WORD("/nonesuch/x"), 0777),
	CALL(mount, 0, 0, 0, 0, 0),
	CALL(chroot, WORD("/")),
	CALL(execve, WORD("/bin/true"), WORD(no_arguments), 0),
	CALL(execveat, AT_FDCWD, WORD("/bin/true"), WORD(no_arguments), 0, 0),
	CALL(fork, 0),
	CALL(vfork, 0),
	CALL(unshare, CLONE_NEWUSER),
	CALL(setns, 0, 0),
	CALL(tkill, 1, 0),
	CALL(rt_sigqueueinfo, 1, 0, 0),
	CALL(pidfd_open, 1, 0),
	CALL(pidfd_getfd, 0, 0, 0),
	CALL(pidfd_send_signal, 0, 0, 0, 0),
	CALL(process_vm_readv, 1, 0, 0, 0, 0, 0),
	CALL(process_vm_writev, 1, 0, 0, 0, 0, 0),
	CALL(setuid, 0),
	CALL(setresuid, 0, 0, 0),
	CALL(setgroups, 0, 0),
	CALL(capset, 0, 0),
	CALL(bpf, 0, 0, 0),
	CALL(perf_event_open, 0, 0, 0, 0, 0),
	CALL(io_uring_setup, 1, 0),
	CALL(io_setup, 1, 0),
	CALL(userfaultfd, 0),
	CALL(keyctl, 0, 0, 0),
	CALL(seccomp, 0, 0, 0),
	CALL(ioctl, 0, SIOCGIFINDEX, 0),
	CALL(ioctl, 0, SIOCSIFFLAGS, 0),
	CALL(splice, 0, 0, 0, 0, 0, 0),
	CALL(vmsplice, 0, 0, 0, 0),
	CALL(sendfile, 0, 0, 0, 0),
	CALL(memfd_secret, 0),
	CALL(shmget, 1, 1, 0),
	CALL(mq_open, WORD("/x"), 0, 0, 0),
	CALL(timer_create, 0, 0, 0),
	CALL(settimeofday, 0, 0),
	CALL(clock_settime, 0, 0),
	CALL(init_module, 0, 0, 0),
	CALL(reboot, 0, 0, 0, 0),
	CALL(swapon, 0, 0),
	CALL(setrlimit, 0, 0),
	CALL(link, WORD("/nonesuch/x"), WORD("/nonesuch/y")),
	CALL(symlink, WORD("/nonesuch/x"), WORD("/nonesuch/y")),
	CALL(name_to_handle_at, 0, 0, 0, 0, 0),
	CALL(open_by_handle_at, 0, 0, 0),
	CALL(inotify_init1, 0),
	CALL(fanotify_init, 0, 0),
#ifndef __SANITIZE_ADDRESS__ /* whose run time does these */
	CALL(sched_getaffinity, 1, 0, 0),
	CALL(open, WORD("/etc/passwd"), O_RDONLY),
	CALL(openat, AT_FDCWD, WORD("/etc/passwd"), O_WRONLY),
	CALL(openat, AT_FDCWD, WORD("/nonesuch/x"), O_RDWR),
	CALL(openat, AT_FDCWD, WORD("/nonesuch/x"), O_RDONLY | O_CREAT, 0600),
	CALL(openat, AT_FDCWD, WORD("/nonesuch/x"), O_RDONLY | O_TRUNC),
	CALL(openat, AT_FDCWD, WORD("/etc/shadow"), O_PATH),
	CALL(openat, AT_FDCWD, WORD("/tmp"), O_RDONLY | O_TMPFILE, 0600),
	CALL(openat, AT_FDCWD, WORD("/proc"), O_RDONLY | O_DIRECTORY),
	CALL(newfstatat, AT_FDCWD, WORD("/root"), WORD(&page), 0),
	CALL(newfstatat, AT_FDCWD, WORD("/root"), WORD(&page), AT_EMPTY_PATH),
	CALL(stat, WORD("/root"), WORD(&page)),
	CALL(lstat, WORD("/root"), WORD(&page)),
	CALL(access, WORD("/root"), 0),
	CALL(kill, 1, 0),
	CALL(ptrace, 0, 0, 0, 0),
	CALL(clone, SIGCHLD, 0, 0, 0, 0),
	CALL(clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0),
	CALL(clone, THREAD | CLONE_NEWUSER, 0, 0, 0, 0),
	CALL(clone, THREAD | CLONE_NEWNET, 0, 0, 0, 0),
	CALL(clone, THREAD | CLONE_PTRACE, 0, 0, 0, 0),
	CALL(prlimit64, 0, RLIMIT_RTTIME, WORD(&page), 0),
	CALL(prctl, PR_SET_DUMPABLE, 1),
	CALL(prlimit64, 1, 0, 0, 0),
	CALL(readlink, WORD("/proc/self/exe"), 0, 0),
	CALL(getdents64, 0, 0, 0),
	CALL(wait4, -1, 0, 0, 0),
	CALL(pipe2, 0, 0),
	CALL(personality, 0),
#endif
};

Test(sandbox, kills_who_calls_what_is_not_on_its_list)
{
	need_root();
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		const struct attempt *a = &forbidden[i];
		int status = attempt_as(UID, a);

		cr_expect_eq(status, 256 + SIGSYS, "%s (%ld, %ld, %ld): %d",
			     a->name, a->args[0], a->args[1], a->args[2],
			     status);
	}
}

static int attempt_as_mapper(void *data)
{
	const struct attempt *a = data;
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || sandbox_enter_mapper())
		return 200;
	syscall(a->number, a->args[0], a->args[1], a->args[2], a->args[3],
		a->args[4], a->args[5]);
	return 0;
}

static void check_mapper_cannot(const struct attempt *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		void *a = (void *)(uintptr_t)&list[i];

		cr_expect_eq(child_wait(child_start(UID, attempt_as_mapper, a)),
			     256 + SIGSYS, "%s (%ld, %ld)", list[i].name,
			     list[i].args[0], list[i].args[1]);
	}
}

Test(sandbox, kills_a_mapper_of_rings_that_would_do_anything_else)
{
	need_root();
	check_mapper_cannot(forbidden, sizeof(forbidden) / sizeof(*forbidden));
	check_mapper_cannot(forbidden_to_the_mapper,
			    sizeof(forbidden_to_the_mapper) /
				    sizeof(*forbidden_to_the_mapper));
}

/* On the list, in a form that is of no use. */
Test(sandbox, gives_nothing_to_who_makes_the_calls_it_has)
{
	const struct attempt useless[] = {
		{ "kill another",
		  SYS_tgkill,
		  { getpid(), getpid(), SIGKILL },
		  EPERM },
		{ "clone3", SYS_clone3, { 0, 0 }, ENOSYS },
#ifndef __SANITIZE_ADDRESS__ /* reads its own files: no Landlock */
		{ "read a program",
		  SYS_openat,
		  { AT_FDCWD, WORD("/bin/true"), O_RDONLY },
		  EACCES },
		{ "read the root",
		  SYS_openat,
		  { AT_FDCWD, WORD("/"), O_RDONLY },
		  EACCES },
		{ "read the users",
		  SYS_openat,
		  { AT_FDCWD, WORD("/etc/passwd"), O_RDONLY },
		  EACCES },
		{ "read devices",
		  SYS_openat,
		  { AT_FDCWD, WORD("/dev/zero"), O_RDONLY },
		  EACCES },
		{ "list processes",
		  SYS_openat,
		  { AT_FDCWD, WORD("/proc"), O_RDONLY },
		  EACCES },
		{ "read another's command line",
		  SYS_openat,
		  { AT_FDCWD, WORD("/proc/1/cmdline"), O_RDONLY },
		  EACCES },
		{ "read its own state",
		  SYS_openat,
		  { AT_FDCWD, WORD("/proc/self/status"), O_RDONLY },
		  EACCES },
		{ "read the network's connections",
		  SYS_openat,
		  { AT_FDCWD, WORD("/proc/net/tcp"), O_RDONLY | O_CLOEXEC },
		  EACCES },
		{ "leave by its root",
		  SYS_openat,
		  { AT_FDCWD, WORD("/proc/self/root/etc/passwd"), O_RDONLY },
		  EACCES },
#endif
	};

	need_root();
	for (size_t i = 0; i < sizeof(useless) / sizeof(useless[0]); i++)
		cr_expect_eq(attempt_as(UID, &useless[i]), useless[i].err, "%s",
			     useless[i].name);
}

/* ----------------------------------------------------------------- its limits
 */

static int spin_for_ever(void *data)
{
	const struct sched_param urgent = { .sched_priority = 1 };
	bool *is_deaf = data;

	must(sched_setscheduler(0, SCHED_FIFO, &urgent) == 0);
	must(setresuid(UID, UID, UID) == 0);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(region_init() == 0 && sandbox_enter(true) == 0);
	if (*is_deaf)
		signal(SIGXCPU, SIG_IGN);
	while (sched_getscheduler(0) == SCHED_FIFO)
		;
	return 7;
}

Test(sandbox, lets_no_thread_spin_at_real_time_priority)
{
	bool is_deaf = false;

	need_root();
	cr_assert_eq(child_wait(child_start(0, spin_for_ever, &is_deaf)), 7);
	is_deaf = true;
	cr_assert_eq(child_wait(child_start(0, spin_for_ever, &is_deaf)),
		     256 + SIGKILL);
}

static void *sleep_for_ever(void *data)
{
	for (;;)
		usleep(1000000);
	return data;
}

/* Exit status: whether there was an end to it. */
static int start_threads(void *data)
{
	pthread_attr_t small;
	pthread_t thread;
	int count = 0;

	(void)data;
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(region_init() == 0 && sandbox_enter(true) == 0);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	while (count < 2000 &&
	       pthread_create(&thread, &small, sleep_for_ever, NULL) == 0)
		count++;
	/* What two configurations can have at most must fit. */
	return count >= 2 * CONFIG_SOURCES_MAX * NR_LANES_MAX && count < 2000;
}

Test(sandbox, has_threads_enough_and_an_end_of_them)
{
	need_root();
	cr_assert_eq(child_wait(child_start(UID, start_threads, NULL)), 1);
}

/* ------------------------------------------------------------- what is on it
 */

/* By other words than the list's: each call is tried, in many forms. */
static bool is_allowed(long number)
{
	static const long forms[][6] = {
		{ -1, -1, -1, -1, -1, -1 }, { 0, 0, 0, 0, 0, 0 },
		{ -1, F_ADD_SEALS },	    { -1, SIOCOUTQ },
		{ CLONE_THREAD },	    { -1, -1, O_RDONLY },
		{ 0, 0, -1, 0, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct attempt a = { .number = number };

		memcpy(a.args, forms[i], sizeof(a.args));
		if (attempt_as(UID, &a) != 256 + SIGSYS)
			return true;
	}
	return false;
}

/* Allowed, and by no path through this test. */
static const struct {
	int number;
	const char *why;
} unused[] = {
	{ SYS_tgkill, "abort()" },
	{ SYS_gettid, "abort()" },
	{ SYS_getpid, "abort()" },
	{ SYS_rt_sigaction, "abort()" },
	{ SYS_rt_sigprocmask, "abort(), pthread_create()" },
	{ SYS_rt_sigreturn, "a stop and go on of the process" },
	{ SYS_restart_syscall, "a stop and go on of the process" },
	{ SYS_exit_group, "how it ends" },
	{ SYS_clone3, "refused with ENOSYS, libc takes clone" },
	{ SYS_writev, "assert() says what was not so" },
	{ SYS_mremap, "a file of many packets, held in memory" },
	{ SYS_poll, "liburcu, when another thread is half done" },
	{ SYS_sched_getaffinity, "malloc() of many threads" },
#ifdef __SANITIZE_ADDRESS__
	{ SYS_brk, "malloc() but the sanitizer's" },
	{ SYS_clone, "sanitizer" },
	{ SYS_ptrace, "sanitizer" },
	{ SYS_wait4, "sanitizer" },
	{ SYS_prctl, "sanitizer" },
	{ SYS_kill, "sanitizer" },
	{ SYS_readlink, "sanitizer" },
	{ SYS_readlinkat, "sanitizer" },
	{ SYS_getdents64, "sanitizer" },
	{ SYS_getdents, "sanitizer" },
	{ SYS_open, "sanitizer" },
	{ SYS_getuid, "sanitizer" },
	{ SYS_getppid, "sanitizer" },
	{ SYS_prlimit64, "sanitizer" },
	{ SYS_stat, "sanitizer" },
	{ SYS_pipe2, "sanitizer" },
	{ SYS_access, "sanitizer" },
	{ SYS_getrusage, "sanitizer" },
	{ SYS_personality, "sanitizer" },
	{ SYS_sigaltstack, "sanitizer" },
	{ SYS_sched_yield, "sanitizer" },
	{ SYS_getrandom, "sanitizer" },
	{ SYS_nanosleep, "sanitizer" },
	{ SYS_geteuid, "sanitizer" },
	{ SYS_lseek, "sanitizer" },
	{ SYS_newfstatat, "sanitizer" },
#endif
};

static const char *excuse_of(int number)
{
	for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
		if (unused[i].number == number)
			return unused[i].why;
	return NULL;
}

/* ------------------------------------------------------ what the engine calls
 */

/* Of the engine behind its sandbox_enter(). In the deciding thread. */
struct record {
	struct calls calls;
	bool is_used[CALL_NUMBERS];
	bool is_mappers[CALL_NUMBERS];
	bool is_fcntl[4096];
	bool is_recorded[65536]; /* by thread */
	bool is_in_sandbox;
	bool is_read_early; /* a file of packets, outside of the sandbox */
	bool is_read;
	pid_t engine, mapper;
	char strange_path[256]; /* one that it opened, and should not */
};

static pid_t process_of(pid_t thread)
{
	return (pid_t)process_status(thread, "Tgid:", 10);
}

static void check_path(struct record *record, const struct call *call)
{
	char path[64], name[256] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", call->thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 ||
	    pread(fd, name, sizeof(name) - 1, (off_t)call->args[1]) < 0)
		strcpy(name, "?");
	close(fd);
	/*
	 * The other way is by a number, in a directory of its own. Where libc
	 * counts CPUs it is denied, twice, and has another way.
	 */
	if ((int)call->args[0] != AT_FDCWD ||
	    strcmp(name, "/sys/devices/system/cpu/online") == 0 ||
	    strcmp(name, "/proc/stat") == 0 || record->strange_path[0])
		return;
	strcpy(record->strange_path, name);
}

/* Whether it reads a file of packets, or maps it. */
static bool is_reading(const struct call *call)
{
	uint64_t fd = call->number == SYS_mmap ? call->args[4] : call->args[0];
	char path[64], target[256] = "";

	if (call->number != SYS_read && call->number != SYS_pread64 &&
	    call->number != SYS_readv && call->number != SYS_preadv &&
	    call->number != SYS_mmap)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", call->thread, (int)fd);
	return readlink(path, target, sizeof(target) - 1) > 0 &&
	       strstr(target, "trace.pcap");
}

/*
 * Whether this is the call that the sandbox begins with, or one behind it. The
 * engine's first thread enters its own, and so does the one that maps rings.
 */
static bool is_inside(struct record *record, const struct call *call)
{
	/* With a filter: libseccomp asks first what there is. */
	bool enters = call->number == SYS_seccomp && call->args[0] == 1 &&
		      call->args[2];

	if (enters && call->thread == record->engine)
		record->is_in_sandbox = true;
	else if (enters)
		record->mapper = call->thread;
	return call->thread == record->mapper || record->is_in_sandbox;
}

static int look_at(const struct call *call, void *data)
{
	struct record *record = data;

	/* By descriptor: so the warden starts it, and nobody anything else. */
	if (call->number == SYS_execveat)
		record->engine = process_of(call->thread);
	if (record->engine == 0 || process_of(call->thread) != record->engine)
		return 0;
	if (is_reading(call)) {
		record->is_read = true;
		record->is_read_early |= !record->is_in_sandbox;
	}
	if (!is_inside(record, call) || call->number == SYS_seccomp)
		return 0;
	if (call->number >= CALL_NUMBERS)
		return 0;
	if (call->thread == record->mapper) {
		record->is_mappers[call->number] = true;
		return 0;
	}
	record->is_used[call->number] = true;
	if (call->number == SYS_fcntl && call->args[1] < 4096)
		record->is_fcntl[call->args[1]] = true;
	if (call->number == SYS_openat)
		check_path(record, call);
	/* What is to be done without huge pages is done, too. */
	if (call->number == SYS_memfd_create && call->args[1] & MFD_HUGETLB)
		return -ENOMEM;
	return 0;
}

/* @more: behind the sources. */
static void configure(const char *filter, const char *more)
{
	config_write("[source r]\nbackend = replay\nfile = %s\nloop = yes\n"
		     "[source f]\nbackend = replay\nfile = %s\nrate = 20000\n"
		     "[source p]\ninterface = inside\nring_size = 4M\ncpu = 0\n"
		     "[source x]\ninterface = inside2\nbackend = xdp\n"
		     "small_pages = yes\n%s"
		     "[channel r]\nsource = r\nallow = everyone\narena = 4M\n%s"
		     "[channel f]\nsource = f\nallow = everyone\narena = 4M\n"
		     "[channel p]\nsource = p\nallow = everyone\narena = 4M\n%s"
		     "[channel x]\nsource = x\nallow = everyone\n"
		     "[channel cut]\nsource = x\nallow = everyone\narena = 4M\n"
		     "snaplen = 64\n",
		     test_path("trace.pcap"), test_path("trace.pcap"), more,
		     filter, filter);
}

static const char *const channels[] = { "r", "f", "p", "x", "cut" };
#define CHANNELS (sizeof(channels) / sizeof(channels[0]))

static int follow_for(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	uint32_t *state = data;
	struct nr_capture *capture;
	struct nr_batch batch;
	int r = 0;

	options.follow = 1;
	options.group = "g";
	must(nr_capture_open("p", &options, &capture) == 0);
	__atomic_store_n(&state[0], 1, __ATOMIC_SEQ_CST);
	while (r >= 0 && !__atomic_load_n(&state[1], __ATOMIC_SEQ_CST)) {
		r = nr_capture_recv(capture, &batch, 20);
		if (r > 0)
			nr_batch_release(&batch);
	}
	must(r >= 0 || r == -ESTALE); /* too slow for a move, when watched */
	return 0;
}

/* Reads a little of each channel, asleep in between; one to its end. */
static int read_some(const char *channel)
{
	bool ends = strcmp(channel, "f") == 0;
	struct nr_capture *capture;
	struct nr_batch batch;
	int r = 1;

	must(nr_capture_open(channel, NULL, &capture) == 0);
	for (int n = 0; r == 1 && (ends || n < 20); n++) {
		r = nr_capture_recv(capture, &batch, 10000);
		if (r == 1)
			nr_batch_release(&batch);
	}
	nr_capture_close(capture);
	must(r == (ends ? -ENODATA : 1));
	return 0;
}

static int read_all(void *data)
{
	(void)data;
	for (size_t i = 0; i < CHANNELS; i++)
		must(read_some(channels[i]) == 0);
	return 0;
}

static int read_as_user(void)
{
	return child_wait(child_start(UID, read_all, NULL));
}

/* ------------------------------------------------------------- the whole life
 */

static struct live live;
static struct command c;
static struct stream_of_frames senders[2];

static void make_network(void)
{
	static const char *const interfaces[] = { "outside", "outside2" };
	struct trace trace;

	live_network(&live);
	network_run(&live.network,
		    "ip link add outside2 type veth peer name inside2\n"
		    "ip link set outside2 up\nip link set inside2 up");
	for (int i = 0; i < 2; i++) {
		senders[i] = (struct stream_of_frames){ .describe = traffic_mix,
							.rate = 2000,
							.cpu = -1 };
		strcpy(senders[i].interface, interfaces[i]);
		frames_start(&senders[i]);
	}
	trace_init(&trace, 20000, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	configure("", "");
}

static bool log_says(void *text)
{
	return broker_said(&live.broker, text);
}

static void wait_for_log(const char *text)
{
	cr_assert(wait_until(log_says, (void *)(uintptr_t)text, 20000),
		  "it never said \"%s\"", text);
}

static void lose_links(void)
{
	network_run(&live.network, "ip link set inside down\n"
				   "ip link set inside2 down");
	wait_for_log("inside is down");
	wait_for_log("inside2 is down");
	network_run(&live.network, "ip link set inside up\n"
				   "ip link set inside2 up");
	wait_for_log("inside is up again");
	wait_for_log("inside2 is up again");
	network_run(&live.network, "ip link del inside");
	wait_for_log("inside is gone");
	network_run(&live.network,
		    "ip link add outside type veth peer name inside\n"
		    "ip link set outside up\nip link set inside up");
	eventually(broker_said_times(&live.broker, "inside is up again") == 2);
}

/* All that an engine does, from its start to its end. */
static void live_through(void)
{
	uint32_t *state = shared_memory(2 * sizeof(*state));
	char more[512];
	struct nr_capture *idle, *none;
	pid_t follower;
	int fd;

	follower = child_start(UID, follow_for, state);
	eventually(__atomic_load_n(&state[0], __ATOMIC_SEQ_CST));
	snprintf(more, sizeof(more),
		 "[source m]\nbackend = replay\nfile = %s\npreload = yes\n"
		 "[channel m]\nsource = m\n",
		 test_path("trace.pcap"));
	/* A file that is read without loss waits for this one. */
	cr_assert_eq(nr_capture_open("r", NULL, &idle), 0);
	sleep_ms(50);
	nr_capture_close(idle);
	cr_assert_eq(read_as_user(), 0);
	cr_assert_eq(nr_capture_open("nonesuch", NULL, &none), -ENOENT);
	cr_assert_eq(command_run(&c, "netring stat"), 0);
	fd = raw_connect();
	cr_assert_eq(raw_send(fd, NR_MSG_ATTACH, 24), 0);
	cr_assert(raw_ends(fd, 5000));
	close(fd);
	configure("nonsense\n", "");
	cr_assert_eq(command_run(&c, "netring reload"), 2, "%d %s", c.status,
		     c.err);
	configure("filter = udp\n", more);
	cr_assert_eq(command_run(&c, "netring reload"), 0, "%s", c.err);
	lose_links();
	cr_assert_eq(read_as_user(), 0);
	__atomic_store_n(&state[1], 1, __ATOMIC_SEQ_CST);
	cr_assert_eq(child_wait(follower), 0);
	kill(live.broker.pid, SIGHUP);
	wait_for_log("was read again");
}

static void check_list(const struct record *record)
{
	for (int number = 0; number < CALL_NUMBERS; number++) {
		const char *excuse = excuse_of(number);
		bool allowed;

		if (number == CALL_URETPROBE || number == CALL_UPROBE)
			continue;
		allowed = is_allowed(number);

		if (record->is_used[number])
			cr_expect(allowed || number == SYS_clone3,
				  "call %d is used", number);
		else if (allowed)
			cr_expect(excuse, "call %d is allowed, unused", number);
	}
}

/* What comes after a ring's socket is there: nothing that sends it anywhere. */
static void check_mappers_list(const struct record *record)
{
	static const int calls[] = { SYS_recvmsg, SYS_mmap, SYS_close,
				     SYS_futex };
	unsigned used = 0;

	for (int number = 0; number < CALL_NUMBERS; number++)
		used += record->is_mappers[number];
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		cr_expect(record->is_mappers[calls[i]], "call %d", calls[i]);
	cr_expect_eq(used, sizeof(calls) / sizeof(calls[0]));
}

Test(sandbox, allows_what_the_engine_does_and_nothing_else)
{
	static struct record record;

	need_root();
	make_network();
	record.calls.fn = look_at;
	record.calls.data = &record;
	calls_start_broker(&record.calls, &live.broker);
	cr_assert(wait_until(broker_answers, NULL, 20000));
	live_through();
	broker_stop(&live.broker);
	calls_end(&record.calls);
	cr_assert(record.is_in_sandbox && record.is_read);
	cr_expect_not(record.is_read_early, "a file is parsed before seccomp");
	cr_expect_str_eq(record.strange_path, "");
	cr_expect(record.is_fcntl[F_ADD_SEALS]);
	check_list(&record);
	check_mappers_list(&record);
}
