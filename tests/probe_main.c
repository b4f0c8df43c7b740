/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a sensor does that a packet took over: tries all that should fail, and
 * says of each how it ended, a line each: "NAME: ok" or "NAME: EPERM". Then
 * reads its capture to the end: "packets: N", and "ended: ERRNO".
 *
 * Arguments: a file of this user, a directory where it may write as far as its
 * modes go, the pid of another process of this user. "attach" behind these:
 * instead asks the broker for a second capture on the connection of the first;
 * "abort": aborts.
 *
 * Run free, it attaches by itself and tries what does not end it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <netring.h>

static const char *readable, *place;
static pid_t victim;
static struct nr_capture *capture;

static long try_open(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static long try_open_relative(void)
{
	return open("../../../../../../../../etc/passwd", O_RDONLY);
}

static long try_proc(void)
{
	return open("/proc/self/environ", O_RDONLY);
}

static long try_list(void)
{
	return open("/etc", O_RDONLY | O_DIRECTORY);
}

static long try_read(void)
{
	return open(readable, O_RDONLY);
}

static long try_write(void)
{
	return open(readable, O_WRONLY);
}

static long try_truncate(void)
{
	return open(readable, O_RDONLY | O_TRUNC);
}

static long try_create(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/made", place);
	return open(path, O_RDWR | O_CREAT, 0600);
}

static long try_unlink(void)
{
	return unlink(readable);
}

static long try_socket(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET, 0);
}

static long try_inet(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static long try_socketpair(void)
{
	int fds[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
}

static long try_connect(void)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	return connect(nr_capture_fd(capture), &none, sizeof(none));
}

static long try_attach(void)
{
	struct nr_capture *second;
	int err = nr_capture_open("trace", NULL, &second);

	if (!err)
		nr_capture_close(second);
	errno = -err;
	return err ? -1 : 0;
}

/* A file that it may execute as far as the file's mode goes. */
static long try_exec(void)
{
	return execl("/bin/true", "true", NULL);
}

static long try_exec_again(void)
{
	char *const arguments[] = { NULL };

	return execve("/proc/self/exe", arguments, NULL);
}

/* The call by which the command came in. */
static long try_exec_at(void)
{
	char *const arguments[] = { NULL };

	return execveat(AT_FDCWD, "/bin/true", arguments, NULL, AT_EMPTY_PATH);
}

static long try_exec_descriptor(void)
{
	char *const arguments[] = { NULL };
	int fd = open("/usr/lib", O_PATH);

	return execveat(fd, "", arguments, NULL, AT_EMPTY_PATH);
}

/* A filter of its own, whose listener would be asked instead. */
static long try_filter(void)
{
	struct sock_filter yes = { BPF_RET | BPF_K, 0, 0,
				   SECCOMP_RET_USER_NOTIF };
	struct sock_fprog program = { 1, &yes };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static long try_filter_prctl(void)
{
	struct sock_filter yes = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { 1, &yes };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static long try_fork(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_ptrace(void)
{
	return ptrace(PTRACE_ATTACH, victim, NULL, NULL);
}

static long try_trace_me(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long try_peek(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)0x400000, 1 };

	return process_vm_readv(victim, &here, 1, &there, 1, 0);
}

static long try_kill(void)
{
	return kill(victim, 0);
}

static long try_kill_all(void)
{
	return kill(-1, 0);
}

static long try_tgkill(void)
{
	return syscall(SYS_tgkill, victim, victim, 0);
}

static long try_unshare(void)
{
	return unshare(CLONE_NEWUSER);
}

static long try_mount(void)
{
	return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static long try_setuid(void)
{
	return setuid(0);
}

static long try_memfd(void)
{
	return memfd_create("x", 0);
}

static long try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long try_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long try_type(void)
{
	return syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x");
}

static long try_owner(void)
{
	return fcntl(nr_capture_fd(capture), F_SETOWN, victim);
}

static long try_send(void)
{
	return send(nr_capture_fd(capture), "x", 1, MSG_DONTWAIT);
}

static long outcome_of(void *memory)
{
	return memory == MAP_FAILED ? -1 : 0;
}

#define ALL_RIGHTS (PROT_READ | PROT_WRITE | PROT_EXEC)

static long try_write_code(void)
{
	return outcome_of(mmap(NULL, 4096, ALL_RIGHTS,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static long try_change_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(page, 4096, ALL_RIGHTS);
}

static const struct {
	const char *name;
	long (*run)(void);
	bool is_for_jail; /* free, it would be the last one */
} attempts[] = {
	{ "open", try_open, false },
	{ "open-relative", try_open_relative, false },
	{ "open-proc", try_proc, false },
	{ "open-list", try_list, false },
	{ "open-readable", try_read, false },
	{ "open-write", try_write, false },
	{ "open-truncate", try_truncate, false },
	{ "open-create", try_create, false },
	{ "unlink", try_unlink, false },
	{ "socket", try_socket, false },
	{ "socket-inet", try_inet, false },
	{ "socketpair", try_socketpair, false },
	{ "connect", try_connect, true },
	{ "attach", try_attach, false },
	{ "send", try_send, true },
	{ "fork", try_fork, false },
	{ "kill", try_kill, false },
	{ "kill-all", try_kill_all, false },
	{ "tgkill", try_tgkill, false },
	{ "peek", try_peek, false },
	{ "ptrace", try_ptrace, false },
	{ "trace-me", try_trace_me, true },
	{ "owner", try_owner, false },
	{ "type", try_type, true },
	{ "memfd", try_memfd, false },
	{ "bpf", try_bpf, true },
	{ "io-uring", try_io_uring, true },
	{ "unshare", try_unshare, false },
	{ "mount", try_mount, true },
	{ "setuid", try_setuid, true },
	{ "exec", try_exec, true },
	{ "exec-again", try_exec_again, true },
	{ "exec-at", try_exec_at, true },
	{ "exec-descriptor", try_exec_descriptor, true },
	{ "write-code", try_write_code, false },
	{ "change-code", try_change_code, false },
	{ "filter", try_filter, true },
	{ "filter-prctl", try_filter_prctl, true },
};

static void attempt_all(bool is_in_jail)
{
	for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		if (attempts[i].is_for_jail && !is_in_jail)
			continue;
		errno = 0;
		printf("%s: %s\n", attempts[i].name,
		       attempts[i].run() >= 0 ? "ok" : strerrorname_np(errno));
		fflush(stdout);
	}
}

static void attach_again(void)
{
	struct nr_msg_attach attach = {
		.msg = { .major = NR_ABI_MAJOR,
			 .minor = NR_ABI_MINOR,
			 .type = NR_MSG_ATTACH,
			 .length = sizeof(attach),
			 .id = 1 },
		.channel = "trace",
		.lane = NR_ALL_LANES,
	};

	if (write(nr_capture_fd(capture), &attach, sizeof(attach)) !=
	    sizeof(attach))
		printf("write: %s\n", strerrorname_np(errno));
}

static void read_all(void)
{
	struct nr_batch batch;
	uint64_t count = 0;
	int r;

	while ((r = nr_capture_recv(capture, &batch, 10000)) > 0) {
		count += batch.count;
		nr_batch_release(&batch);
	}
	printf("packets: %llu\nended: %s\n", (unsigned long long)count,
	       strerrorname_np(-r));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	bool is_in_jail = getenv(NR_CAPTURE_ENV);
	int err = is_in_jail ? nr_capture_open_inherited(NULL, &capture) :
			       nr_capture_open("trace", NULL, &capture);

	if (argc < 4 || err) {
		fprintf(stderr, "netring-probe: %s\n", nr_strerror(err));
		return 1;
	}
	readable = argv[1];
	place = argv[2];
	victim = atoi(argv[3]);
	printf("channel: %s\n", nr_capture_channel(capture));
	if (argc > 4 && strcmp(argv[4], "abort") == 0)
		abort();
	if (argc > 4)
		attach_again();
	else
		attempt_all(is_in_jail);
	read_all();
	nr_capture_close(capture);
	return 7;
}
