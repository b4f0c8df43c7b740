/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nothing outlives a test: every process dies with the one that started it
 * (PR_SET_PDEATHSIG), and what is not a process is removed by a guardian, a
 * child that waits for the test's death, however it comes.
 */
#include "support.h"

#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A start under sanitizers, on a busy machine, is slow. */
#define START_MS 20000
#define STOP_MS 20000
#define ARGUMENTS_MAX 16
#define NETWORKS_MAX 8

/* ------------------------------------------------------------- conditions */

void sleep_ms(int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool wait_until(bool (*is_true)(void *data), void *data, int timeout_ms)
{
	int64_t deadline = clock_ms() + timeout_ms;

	while (!is_true(data)) {
		if (clock_ms() >= deadline)
			return is_true(data);
		sleep_ms(1);
	}
	return true;
}

void need_root(void)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs root");
	pid = fork();
	if (pid == 0)
		_exit(unshare(CLONE_NEWNET | CLONE_NEWNS) ? 1 : 0);
	cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (status)
		cr_skip_test("needs CAP_SYS_ADMIN to make namespaces");
}

/* --------------------------------------------------------------- guardian */

/* What the test has made, in memory that the guardian sees too. */
struct remains {
	char dir[32];
	char netns[NETWORKS_MAX][32];
};
static struct remains *remains;
static pid_t guarded; /* whose they are: a child's are its own */

static void netns_path(char *path, size_t size, const char *netns)
{
	snprintf(path, size, "/run/netns/%s", netns);
}

static void netns_delete(const char *netns)
{
	char path[64];

	netns_path(path, sizeof(path), netns);
	umount2(path, MNT_DETACH);
	unlink(path);
}

/*
 * In a session of its own, deaf to what ends a test run by hand, and holding
 * none of the pipes that the test's runner waits for.
 */
__attribute__((noreturn)) static void guard(int pidfd)
{
	struct pollfd fd = { .fd = dup2(pidfd, 0), .events = POLLIN };

	setsid();
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	close_range(1, ~0u, 0);
	while (poll(&fd, 1, -1) != 1)
		;
	for (int i = 0; i < NETWORKS_MAX; i++)
		if (remains->netns[i][0])
			netns_delete(remains->netns[i]);
	if (remains->dir[0])
		execlp("rm", "rm", "-rf", remains->dir, NULL);
	_exit(0);
}

static void guardian_start(void)
{
	int pidfd;
	pid_t pid;

	if (guarded == getpid())
		return;
	guarded = getpid();
	remains = shared_memory(sizeof(*remains));
	pidfd = (int)syscall(SYS_pidfd_open, guarded, 0);
	cr_assert(pidfd >= 0, "pidfd_open: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		guard(pidfd);
	cr_assert(pid > 0, "fork: %s", strerror(errno));
	close(pidfd);
}

const char *test_dir(void)
{
	guardian_start();
	if (!remains->dir[0]) {
		char dir[] = "/tmp/netring-XXXXXX";

		cr_assert(mkdtemp(dir), "%s: %s", dir, strerror(errno));
		strcpy(remains->dir, dir);
		/* consumers of other users come to the socket */
		cr_assert(chmod(dir, 0755) == 0);
	}
	return remains->dir;
}

const char *test_path(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", test_dir(), name);
	return path;
}

/* -------------------------------------------------------------- processes */

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert(memory != MAP_FAILED, "mmap: %s", strerror(errno));
	return memory;
}

static int become(uid_t uid)
{
	if (uid == 0)
		return 0;
	return setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	       setresuid(uid, uid, uid);
}

/* A change of the uid takes the death signal away: so behind it. */
static pid_t fork_bound(uid_t uid)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	cr_assert(pid >= 0, "fork: %s", strerror(errno));
	if (pid)
		return pid;
	if (become(uid) || prctl(PR_SET_PDEATHSIG, SIGKILL)) {
		perror("a child of the test");
		_exit(255);
	}
	if (getppid() != parent)
		_exit(255);
	return 0;
}

pid_t child_start(uid_t uid, int (*body)(void *data), void *data)
{
	pid_t pid = fork_bound(uid);
	int status;

	if (pid)
		return pid;
	status = body(data);
	fflush(NULL);
	_exit(status);
}

static int status_of(int status)
{
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

int child_wait(pid_t pid)
{
	int status;
	pid_t waited;

	do {
		waited = waitpid(pid, &status, 0);
	} while (waited < 0 && errno == EINTR);
	cr_assert(waited == pid, "waitpid: %s", strerror(errno));
	return status_of(status);
}

/* The number in a /proc file behind @key, or the first if that is "". */
static bool proc_number(const char *path, const char *key, uint64_t *number)
{
	FILE *file = fopen(path, "re");
	char line[512];
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = strncmp(line, key, strlen(key)) == 0;
	fclose(file);
	if (found)
		*number = strtoull(line + strlen(key), NULL, 10);
	return found;
}

unsigned process_fds(pid_t pid)
{
	char path[64];
	unsigned count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	cr_assert(dir, "%s: %s", path, strerror(errno));
	for (struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

/* Not of status: that one may be off by 64 pages a thread. */
unsigned long process_rss_kb(pid_t pid)
{
	char path[64];
	uint64_t kb = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	cr_assert(proc_number(path, "Rss:", &kb), "%s", path);
	return kb;
}

/* In ns there, a line a thread; stat has only ticks of 10 ms. */
unsigned long process_cpu_ms(pid_t pid)
{
	char path[64];
	uint64_t ns, sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	cr_assert(dir, "%s: %s", path, strerror(errno));
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat",
			 pid, entry->d_name);
		if (proc_number(path, "", &ns))
			sum += ns;
	}
	closedir(dir);
	return sum / 1000000;
}

uint64_t process_status(pid_t pid, const char *key, int base)
{
	char path[64], line[256];
	uint64_t value = UINT64_MAX;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return value;
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoull(line + strlen(key), NULL, base);
	fclose(file);
	return value;
}

uid_t process_uid(pid_t pid)
{
	uint64_t uid = process_status(pid, "Uid:", 10);

	cr_assert_neq(uid, UINT64_MAX, "process %d", (int)pid);
	return (uid_t)uid;
}

void process_be_urgent(pid_t pid)
{
	const struct sched_param param = { .sched_priority = 1 };

	cr_assert(sched_setscheduler(pid, SCHED_FIFO, &param) == 0,
		  "SCHED_FIFO: %s", strerror(errno));
}

/* Dead, whether or not somebody has waited for it. */
static bool process_is_gone(void *data)
{
	char path[64], line[512], *end;
	FILE *file;
	bool is_gone = true;

	snprintf(path, sizeof(path), "/proc/%d/stat", *(pid_t *)data);
	file = fopen(path, "re");
	if (!file)
		return true;
	if (fgets(line, sizeof(line), file) && (end = strrchr(line, ')')))
		is_gone = end[2] == 'Z' || end[2] == 'X';
	fclose(file);
	return is_gone;
}

/* ----------------------------------------------------------------- broker */

static void enter(const char *netns)
{
	char path[64];
	int fd;

	netns_path(path, sizeof(path), netns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET)) {
		perror(path);
		_exit(255);
	}
	close(fd);
}

static char *log_text(const struct broker *broker)
{
	FILE *file = fopen(broker->log, "re");
	char *text = NULL;
	size_t size = 0;

	cr_assert(file, "%s: %s", broker->log, strerror(errno));
	if (getdelim(&text, &size, '\0', file) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(file);
	return text;
}

static void broker_init(struct broker *broker)
{
	static unsigned number;
	char name[32];

	memset(broker, 0, sizeof(*broker));
	snprintf(name, sizeof(name), "broker%u.sock", number);
	snprintf(broker->socket, sizeof(broker->socket), "%s", test_path(name));
	snprintf(name, sizeof(name), "broker%u.log", number++);
	snprintf(broker->log, sizeof(broker->log), "%s", test_path(name));
}

__attribute__((noreturn)) static void
broker_exec(const struct broker *broker, const char *netns, char **arguments)
{
	int log = open(broker->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	int null = open("/dev/null", O_RDWR);

	if (netns)
		enter(netns);
	if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    dup2(log, 2) < 0)
		_exit(255);
	close_range(3, ~0u, 0);
	execv(NETRINGD, arguments);
	perror(NETRINGD);
	_exit(255);
}

static int ignore_answer(const struct nr_msg *msg, void *data)
{
	(void)msg;
	(void)data;
	return 0;
}

bool broker_answers(void *socket)
{
	return nr_broker_list(socket, ignore_answer, NULL) == 0;
}

/* It serves when it answers. */
static void broker_wait(struct broker *broker)
{
	int64_t deadline = clock_ms() + START_MS;
	int status, err;

	while ((err = nr_broker_list(broker->socket, ignore_answer, NULL))) {
		pid_t pid = waitpid(broker->pid, &status, WNOHANG);

		if (pid == 0 && clock_ms() < deadline) {
			sleep_ms(1);
			continue;
		}
		cr_assert_fail("the broker %s (%d; %s):\n%s",
			       pid ? "has ended" : "does not answer",
			       pid ? status_of(status) : 0, nr_strerror(err),
			       log_text(broker));
	}
	setenv(NR_SOCKET_ENV, broker->socket, 1);
}

/* For words, when something else than itself fails. */
static const struct broker *latest;

static void broker_run(struct broker *broker, const char *netns,
		       char **arguments)
{
	latest = broker;
	broker->pid = fork_bound(0);
	if (broker->pid == 0)
		broker_exec(broker, netns, arguments);
	broker_wait(broker);
}

static void config_path(const struct broker *broker, char path[128])
{
	snprintf(path, 128, "%.120s.conf", broker->socket);
}

void broker_start_again(struct broker *broker, const char *netns)
{
	char path[128];
	char *arguments[] = { (char *)(uintptr_t) "netringd",
			      (char *)(uintptr_t) "-c", path, NULL };

	config_path(broker, path);
	broker_run(broker, netns, arguments);
}

void broker_start(struct broker *broker, const char *netns, const char *config,
		  ...)
{
	char path[128];
	va_list args;
	FILE *file;

	broker_init(broker);
	config_path(broker, path);
	file = fopen(path, "we");
	cr_assert(file, "%s: %s", path, strerror(errno));
	fprintf(file,
		"[broker]\nsocket = %s\nmax_connections = 4096\n"
		"max_captures = 4096\nmax_guaranteed = 1000000\n"
		"attach_rate = 100000\n",
		broker->socket);
	va_start(args, config);
	vfprintf(file, config, args);
	va_end(args);
	cr_assert(fclose(file) == 0, "%s: %s", path, strerror(errno));
	broker_start_again(broker, netns);
}

void broker_start_args(struct broker *broker, const char *netns, ...)
{
	char *arguments[ARGUMENTS_MAX] = { (char *)(uintptr_t) "netringd",
					   (char *)(uintptr_t) "--socket",
					   broker->socket };
	unsigned count = 3;
	va_list args;

	broker_init(broker);
	va_start(args, netns);
	while ((arguments[count] = va_arg(args, char *)))
		cr_assert(++count < ARGUMENTS_MAX);
	va_end(args);
	broker_run(broker, netns, arguments);
}

struct waited {
	pid_t pid;
	int status;
};

static bool has_ended(void *data)
{
	struct waited *waited = data;

	return waitpid(waited->pid, &waited->status, WNOHANG) == waited->pid;
}

void broker_stop(struct broker *broker)
{
	struct waited waited = { broker->pid, 0 };

	kill(broker->pid, SIGTERM);
	cr_assert(wait_until(has_ended, &waited, STOP_MS),
		  "the broker does not end:\n%s", log_text(broker));
	cr_assert(waited.status == 0, "the broker's status is %d:\n%s",
		  status_of(waited.status), log_text(broker));
	cr_assert(!broker_said(broker, "Sanitizer") &&
			  !broker_said(broker, "runtime error:"),
		  "the broker has a bug:\n%s", log_text(broker));
	broker->pid = 0;
}

void broker_kill(struct broker *broker)
{
	pid_t engine = broker_engine(broker);

	kill(broker->pid, SIGKILL);
	cr_assert(child_wait(broker->pid) == 256 + SIGKILL);
	cr_assert(wait_until(process_is_gone, &engine, STOP_MS),
		  "the engine lives on without its warden");
	broker->pid = 0;
}

pid_t process_child(pid_t pid)
{
	uint64_t child = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	return proc_number(path, "", &child) ? (pid_t)child : 0;
}

pid_t broker_engine(const struct broker *broker)
{
	pid_t engine = process_child(broker->pid);

	cr_assert_gt(engine, 0, "the broker has no engine");
	return engine;
}

unsigned broker_said_times(const struct broker *broker, const char *text)
{
	char *log = log_text(broker);
	unsigned times = 0;

	for (const char *at = log; (at = strstr(at, text)); at += strlen(text))
		times++;
	free(log);
	return times;
}

bool broker_said(const struct broker *broker, const char *text)
{
	return broker_said_times(broker, text) > 0;
}

/* -------------------------------------------------------------- statistics */

#define TAKE(stat, entries, count, msg)                                        \
	do {                                                                   \
		cr_assert((stat)->count < sizeof((stat)->entries) /            \
						  sizeof((stat)->entries[0])); \
		memcpy(&(stat)->entries[(stat)->count++], (msg),               \
		       sizeof((stat)->entries[0]));                            \
	} while (0)

static int take_answer(const struct nr_msg *msg, void *data)
{
	struct broker_stat *stat = data;

	if (msg->type == NR_MSG_BROKER)
		memcpy(&stat->broker, msg, sizeof(stat->broker));
	else if (msg->type == NR_MSG_SOURCE)
		TAKE(stat, source, sources, msg);
	else if (msg->type == NR_MSG_CHANNEL_LANE)
		TAKE(stat, channel_lane, channel_lanes, msg);
	else if (msg->type == NR_MSG_CAPTURE)
		TAKE(stat, capture, captures, msg);
	return 0;
}

void broker_read_stat(struct broker_stat *stat, const char *channel)
{
	char text[NR_TEXT_MAX];
	int err;

	stat->sources = stat->channel_lanes = stat->captures = 0;
	err = nr_broker_stat(NULL, channel, take_answer, stat, text,
			     sizeof(text));
	cr_assert(err == 0, "stat: %s (%s)\n%s", text, nr_strerror(err),
		  latest ? log_text(latest) : "");
}

/* ---------------------------------------------------------------- network */

static int run_in(const char *netns, const char *command)
{
	pid_t pid = fork_bound(0);

	if (pid == 0) {
		enter(netns);
		execl("/bin/sh", "sh", "-ec", command, NULL);
		_exit(255);
	}
	return child_wait(pid);
}

void network_run(const struct network *network, const char *command, ...)
{
	char text[1024];
	va_list args;
	int length;

	va_start(args, command);
	length = vsnprintf(text, sizeof(text), command, args);
	va_end(args);
	cr_assert(length >= 0 && length < (int)sizeof(text));
	cr_assert(run_in(network->netns, text) == 0, "failed: %s", text);
}

void network_enter(const struct network *network)
{
	enter(network->netns);
}

void network_make(struct network *network)
{
	char command[64];
	int slot = 0;

	need_root();
	guardian_start();
	while (slot < NETWORKS_MAX && remains->netns[slot][0])
		slot++;
	cr_assert(slot < NETWORKS_MAX, "too many networks");
	snprintf(network->netns, sizeof(network->netns), "netring-%d-%d",
		 getpid(), slot);
	strcpy(network->outside, "outside");
	strcpy(network->inside, "inside");
	strcpy(remains->netns[slot], network->netns);
	snprintf(command, sizeof(command), "ip netns add %s", network->netns);
	cr_assert(system(command) == 0, "%s", command);
	network_run(network,
		    "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6\n"
		    "ip link add %s type veth peer name %s\n"
		    "ip link set %s up\n"
		    "ip link set %s up\n",
		    network->outside, network->inside, network->outside,
		    network->inside);
}

void network_remove(struct network *network)
{
	for (int i = 0; i < NETWORKS_MAX; i++)
		if (strcmp(remains->netns[i], network->netns) == 0)
			remains->netns[i][0] = '\0';
	netns_delete(network->netns);
	network->netns[0] = '\0';
}
