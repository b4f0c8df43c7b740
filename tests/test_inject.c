/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One system call fails, once: the N-th of its kind, for N from 1 until there
 * are no more, while the broker starts, a client attaches, the configuration is
 * read again, an engine follows one that was killed. Then the broker has either
 * ended, with a word about it and nothing left behind, or it serves as if
 * nothing had been.
 *
 * NETRING_INJECT=all tries every call and every N, which takes hours;
 * NETRING_INJECT_CALL=mmap those of one call; else some of each are tried. As
 * the broker looks through /proc, it is soonest done where there is little of
 * it: unshare -pf --mount-proc test_inject --jobs 1 --filter inject/NAME
 */
#include <bpf/libbpf.h>
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "ledger.h"
#include "live.h"

#define WAIT_MS 30000
#define UID_A 12345
#define UID_B 23456
#define UID_C 34567

TestSuite(inject, .timeout = 1800);

struct fault {
	const char *name;
	int number;
	int error;
};

#define FAULT(name, error)                                                     \
	{                                                                      \
#name, SYS_##name, error                                       \
	}

static const struct fault faults[] = {
	FAULT(mmap, ENOMEM),
	FAULT(mremap, ENOMEM),
#ifndef __SANITIZE_ADDRESS__ /* whose own memory it is then */
	FAULT(munmap, ENOMEM),
#endif
	FAULT(mprotect, ENOMEM),
	FAULT(madvise, ENOMEM),
	FAULT(madvise, EAGAIN),
	FAULT(mlock, ENOMEM),
	FAULT(memfd_create, EMFILE),
	FAULT(ftruncate, ENOMEM),
	FAULT(fallocate, ENOSPC),
	FAULT(fallocate, EINTR),
	FAULT(fchmod, EPERM),
	FAULT(fcntl, EMFILE),
	FAULT(fcntl, ENOLCK),
	FAULT(flock, ENOLCK),
	FAULT(fstat, EIO),
	FAULT(openat, EMFILE),
	FAULT(openat, EINTR),
	FAULT(dup2, EBUSY),
	FAULT(read, EIO),
	FAULT(read, EINTR),
	FAULT(read, EAGAIN),
	FAULT(pread64, EIO),
	FAULT(write, EAGAIN),
	FAULT(getdents64, ENOMEM),
	FAULT(readlinkat, ENOMEM),
	FAULT(mkdir, ENOSPC),
	FAULT(unlink, EIO),
	FAULT(eventfd2, EMFILE),
	FAULT(signalfd4, EMFILE),
	FAULT(pidfd_open, EMFILE),
	FAULT(epoll_create1, EMFILE),
	FAULT(epoll_ctl, ENOSPC),
	FAULT(epoll_wait, EINTR),
	FAULT(socket, EMFILE),
	FAULT(connect, ENOBUFS),
	FAULT(connect, EINTR),
	FAULT(ppoll, ENOMEM),
	FAULT(ppoll, EINTR),
	FAULT(poll, ENOMEM),
	FAULT(poll, EINTR),
	FAULT(newfstatat, EIO),
	FAULT(socketpair, EMFILE),
	FAULT(bind, ENOMEM),
	FAULT(listen, ENOBUFS),
	FAULT(chmod, EPERM),
	FAULT(accept4, EMFILE),
	FAULT(accept4, EINTR),
	FAULT(accept4, ECONNABORTED),
	FAULT(getsockname, ENOBUFS),
	FAULT(setsockopt, ENOMEM),
	FAULT(getsockopt, ENOBUFS),
	FAULT(sendmsg, ENOBUFS),
	FAULT(sendmsg, ENOMEM),
	FAULT(sendto, ENOBUFS),
	FAULT(sendto, ENOMEM),
	FAULT(sendto, EAGAIN),
	FAULT(recvmsg, ENOMEM),
	FAULT(recvmsg, EINTR),
	FAULT(recvfrom, ENOMEM),
	FAULT(recvfrom, EINTR),
	FAULT(ioctl, EIO),
	FAULT(ioctl, ENOMEM),
	FAULT(bpf, ENOMEM),
	FAULT(bpf, EPERM),
	FAULT(bpf, EAGAIN),
	FAULT(fork, EAGAIN),
	FAULT(clone, EAGAIN),
	FAULT(clone3, EAGAIN),
	FAULT(wait4, ECHILD),
	FAULT(wait4, EINTR),
	FAULT(waitid, ECHILD),
	FAULT(unshare, ENOSPC),
	FAULT(unshare, EPERM),
	FAULT(execveat, ENOMEM),
	FAULT(prlimit64, EPERM),
	FAULT(setgroups, ENOMEM),
	FAULT(setresgid, EAGAIN),
	FAULT(setresuid, EAGAIN),
	FAULT(seccomp, ENOMEM),
	FAULT(landlock_create_ruleset, EMFILE),
	FAULT(landlock_add_rule, ENOMEM),
	FAULT(landlock_restrict_self, E2BIG),
	FAULT(sched_setscheduler, EPERM),
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* ------------------------------------------------------------ what fails when
 */

struct injection {
	const char *phase;
	const struct fault *fault;
	unsigned nth;
	/* The thread that decides: */
	unsigned seen;
	bool is_armed;	       /* the test's, too */
	bool waits_for_config; /* armed when the warden gets there */
	bool has_hit;
	char who[16];
};

/* Sanitizers end the program when their own memory cannot be had. */
static bool is_meant(const struct call *call, int error)
{
#ifdef __SANITIZE_ADDRESS__
	if (call->number == SYS_mmap)
		return call->args[3] & MAP_SHARED;
	if (call->number == SYS_mprotect)
		return false;
#endif
	/* Of the log; an eventfd takes what is written. */
	if (call->number == SYS_write)
		return call->args[0] == STDERR_FILENO;
	/* What may wait does. */
	if (call->number == SYS_sendto && error == EAGAIN)
		return call->args[3] & MSG_DONTWAIT;
	return true;
}

static void read_comm(pid_t thread, char who[16])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", thread);
	file = fopen(path, "re");
	if (!file || !fgets(who, 16, file))
		strcpy(who, "?");
	who[strcspn(who, "\n")] = '\0';
	if (file)
		fclose(file);
}

static int decide(const struct call *call, void *data)
{
	struct injection *injection = data;

	/* Before it, all is the dynamic linker's. */
	if (call->number == SYS_memfd_create && injection->waits_for_config) {
		injection->waits_for_config = false;
		injection->is_armed = true;
	}
	if (!__atomic_load_n(&injection->is_armed, __ATOMIC_SEQ_CST) ||
	    call->number != injection->fault->number || injection->has_hit ||
	    !is_meant(call, injection->fault->error) ||
	    ++injection->seen < injection->nth)
		return 0;
	read_comm(call->thread, injection->who);
	__atomic_store_n(&injection->has_hit, true, __ATOMIC_SEQ_CST);
	return -injection->fault->error;
}

static void arm(struct injection *injection, bool is_armed)
{
	__atomic_store_n(&injection->is_armed, is_armed, __ATOMIC_SEQ_CST);
}

/* ----------------------------------------------------------------- the broker
 */

struct victim {
	struct injection injection;
	struct calls calls;
	pid_t pid, engine; /* the one that is to be killed */
	int status;	   /* if it has ended */
	bool has_ended;
};

/* Of the test's directory; a child would get one of its own. */
static char log_path[128];

static char *log_text(void)
{
	static char text[65536];
	FILE *file = fopen(log_path, "re");
	size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[length] = '\0';
	if (file)
		fclose(file);
	return text;
}

/* Fails the test, with all there is to know. */
#define insist(victim, condition, ...)                                         \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, __VA_ARGS__);                          \
			cr_assert_fail(                                        \
				"WRONG %s, %s (%s) number %u of %s: "          \
				"%s\n%s",                                      \
				(victim)->injection.phase,                     \
				(victim)->injection.fault->name,               \
				strerror((victim)->injection.fault->error),    \
				(victim)->injection.nth,                       \
				(victim)->injection.who, #condition,           \
				log_text());                                   \
		}                                                              \
	} while (0)

static bool has_ended(struct victim *victim)
{
	if (!victim->has_ended)
		victim->has_ended = waitpid(victim->pid, &victim->status,
					    WNOHANG) == victim->pid;
	return victim->has_ended;
}

static bool serves_or_has_ended(void *data)
{
	return has_ended(data) || broker_answers(NULL);
}

/* Returns whether it serves. */
static bool victim_start(struct victim *victim, const char *phase,
			 const struct fault *fault, unsigned nth)
{
	struct calls *calls = &victim->calls;
	struct broker broker;

	memset(victim, 0, sizeof(*victim));
	victim->injection = (struct injection){ .phase = phase,
						.fault = fault,
						.nth = nth };
	calls->fn = decide;
	calls->data = &victim->injection;
	calls->numbers[calls->count++] = fault->number;
	if (fault->number != SYS_memfd_create)
		calls->numbers[calls->count++] = SYS_memfd_create;
	victim->injection.waits_for_config = strcmp(phase, "start") == 0;
	calls_start_broker(calls, &broker);
	victim->pid = broker.pid;
	insist(victim, wait_until(serves_or_has_ended, victim, WAIT_MS),
	       "the broker neither serves nor ends\n");
	return !victim->has_ended;
}

static bool program_is_gone(void *data)
{
	uint32_t id = 0;

	(void)data;
	return bpf_xdp_query_id((int)if_nametoindex("inside"), 0, &id) == 0 &&
	       id == 0;
}

static bool victim_has_ended(void *data)
{
	return has_ended(data);
}

/* Nothing is left of it. */
static void victim_check_end(struct victim *victim)
{
	struct stat st;

	insist(victim, WIFEXITED(victim->status), "signal %d\n",
	       WTERMSIG(victim->status));
	insist(victim, !strstr(log_text(), "something impossible"),
	       "it did not trust its own engine\n");
	insist(victim, lstat(getenv(NR_SOCKET_ENV), &st) && errno == ENOENT,
	       "the socket is left\n");
	insist(victim,
	       if_nametoindex("inside") == 0 ||
		       wait_until(program_is_gone, NULL, 1000),
	       "an XDP program is left\n");
	insist(victim,
	       !strstr(log_text(), "Sanitizer") &&
		       !strstr(log_text(), "runtime error:"),
	       "a sanitizer complains\n");
	calls_end(&victim->calls);
}

static void victim_stop(struct victim *victim)
{
	arm(&victim->injection, false);
	kill(victim->pid, SIGTERM);
	insist(victim, wait_until(victim_has_ended, victim, WAIT_MS),
	       "it does not end\n");
	insist(victim, WEXITSTATUS(victim->status) == 0, "status %d\n",
	       WEXITSTATUS(victim->status));
	victim_check_end(victim);
}

/* ---------------------------------------------------------------- the clients
 */

struct client {
	const char *channel;
	int wait_ms;
	bool reloads; /* instead of attaching */
	int err;
	bool has_read;
	char text[NR_TEXT_MAX];
};

/* The first packet may take as long as a new engine does. */
static int be_client(void *data)
{
	struct client *client = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct nr_batch batch;

	if (client->reloads) {
		client->err = nr_broker_reload(NULL, client->text,
					       sizeof(client->text));
		return 0;
	}
	options.error_text = client->text;
	options.error_text_size = sizeof(client->text);
	options.wait_ms = client->wait_ms;
	client->err = nr_capture_open(client->channel, &options, &capture);
	if (client->err)
		return 0;
	client->has_read = nr_capture_recv(capture, &batch, 5000) == 1;
	nr_capture_close(capture);
	return 0;
}

static struct client *client_run(struct victim *victim, uid_t uid,
				 const char *channel, int wait_ms)
{
	static struct client *client;

	if (!client)
		client = shared_memory(sizeof(*client));
	memset(client, 0, sizeof(*client));
	client->channel = channel;
	client->wait_ms = wait_ms;
	client->reloads = channel == NULL;
	insist(victim, child_wait(child_start(uid, be_client, client)) == 0,
	       "the client has died\n");
	return client;
}

static void must_attach(struct victim *victim, uid_t uid, const char *channel)
{
	struct client *client = client_run(victim, uid, channel, 5000);

	insist(victim, client->err == 0, "%s: %s\n", nr_strerror(client->err),
	       client->text);
	insist(victim, client->has_read, "no packet comes\n");
}

struct fds {
	unsigned warden, engine;
};

static struct fds fds_now(const struct victim *victim)
{
	const struct broker broker = { .pid = victim->pid };

	return (struct fds){ process_fds(victim->pid),
			     process_fds(broker_engine(&broker)) };
}

/* Without a fault, at the same point. */
static struct fds usual;

/* Fewer: what failed was not needed. */
static bool fds_are_usual(void *data)
{
	struct fds now = fds_now(data);

	return now.warden <= usual.warden && now.engine <= usual.engine;
}

static void check_fds(struct victim *victim)
{
	if (!victim->injection.has_hit && victim->injection.nth == UINT32_MAX) {
		usual = fds_now(victim);
		/* What closes late may not be done yet. */
		for (int i = 0; i < 200; i++) {
			usual = fds_now(victim);
			sleep_ms(1);
		}
		return;
	}
	insist(victim, wait_until(fds_are_usual, victim, 10000),
	       "descriptors: %u and %u, usually %u and %u\n",
	       fds_now(victim).warden, fds_now(victim).engine, usual.warden,
	       usual.engine);
}

/* ------------------------------------------------------ who is not meant by it
 */

/* Reads on whatever others do, and misses nothing. In shared memory. */
struct bystander {
	const char *channel;
	int err;
	uint32_t must_stop;
	uint64_t count, gaps;
	pid_t pid;
};

static int look_on(void *data)
{
	struct bystander *me = data;
	struct nr_capture *capture;
	struct nr_batch batch;

	me->err = nr_capture_open(me->channel, NULL, &capture);
	while (me->err == 0 &&
	       !__atomic_load_n(&me->must_stop, __ATOMIC_SEQ_CST)) {
		int r = nr_capture_recv(capture, &batch, 20);

		me->err = r < 0 ? r : 0;
		if (r <= 0)
			continue;
		me->gaps += batch.gap;
		__atomic_add_fetch(&me->count, batch.count, __ATOMIC_SEQ_CST);
		nr_batch_release(&batch);
	}
	return 0;
}

static bool sees_more(void *data)
{
	struct bystander *bystander = data;
	static uint64_t before;
	uint64_t now = __atomic_load_n(&bystander->count, __ATOMIC_SEQ_CST);

	if (bystander->err || (before && now > before)) {
		before = 0;
		return true;
	}
	if (!before)
		before = now + 1;
	return false;
}

static struct bystander *bystander_start(struct victim *victim,
					 const char *channel)
{
	static struct bystander *bystander;

	if (!bystander)
		bystander = shared_memory(sizeof(*bystander));
	memset(bystander, 0, sizeof(*bystander));
	bystander->channel = channel;
	bystander->pid = child_start(UID_C, look_on, bystander);
	insist(victim, wait_until(sees_more, bystander, 10000),
	       "the bystander sees nothing\n");
	return bystander;
}

static void bystander_check(struct victim *victim, struct bystander *bystander)
{
	insist(victim, wait_until(sees_more, bystander, 10000),
	       "the bystander sees no more\n");
	__atomic_store_n(&bystander->must_stop, 1, __ATOMIC_SEQ_CST);
	insist(victim, child_wait(bystander->pid) == 0,
	       "the bystander has died\n");
	insist(victim, bystander->err == 0 && bystander->gaps == 0,
	       "the bystander: %s, lost %llu\n", nr_strerror(bystander->err),
	       (unsigned long long)bystander->gaps);
}

/* ------------------------------------------------------------------ the runs
 */

static const char *backend_keys;

static void configure(const char *filter, const char *more)
{
	config_write("[source s]\n%s[channel c]\nsource = s\n"
		     "allow = everyone\narena = 4M\n%s%s",
		     backend_keys, filter, more);
}

/* The first line of a log that is an error, or else a warning. */
static const char *words_of(const char *text)
{
	static char line[256];
	const char *found = strstr(text, "error: ");

	if (!found)
		found = strstr(text, "warning: ");
	snprintf(line, sizeof(line), "%s", found ? found : "");
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static const char *first_words(void)
{
	return words_of(log_text());
}

/* Those after the killed engine's end. */
static const char *last_words(void)
{
	const char *killed = strstr(log_text(), "died of signal 9");

	return words_of(killed ? killed : "");
}

static void tell(const struct victim *victim, const char *outcome,
		 const char *words)
{
	const struct injection *i = &victim->injection;

	if (i->has_hit)
		fprintf(stderr, "%-8s%-22s%-12s%4u of %-16s%s%s%s\n", i->phase,
			i->fault->name, strerrorname_np(i->fault->error),
			i->nth, i->who, outcome, words[0] ? ": " : "", words);
}

/* The dynamic linker has words of its own, or none and dies. */
static bool says_why(const char *text, const struct fault *fault)
{
	/* A thread that has no memory is one that cannot be had for now; and
	 * what libseccomp cannot try out is not supported. */
	static const char *const else_said[] = {
		"cannot start its lanes: Resource temporarily unavailable",
		"cannot lock itself in: Operation not supported",
		"cannot lock itself in: Operation canceled",
		"that maps rings: Resource temporarily unavailable",
		"that maps rings: Operation not supported",
		"that maps rings: Operation canceled",
	};

	for (size_t i = 0; i < sizeof(else_said) / sizeof(else_said[0]); i++)
		if (strstr(text, else_said[i]))
			return true;
	return strstr(text, strerror(fault->error)) ||
	       (fault->error == ENOMEM && strstr(text, "no memory")) ||
	       strstr(text, "while loading shared libraries") ||
	       (fault->number == SYS_mmap && strstr(text, "signal 11"));
}

/* Each returns whether there was an N-th call. */
static bool fail_start(const struct fault *fault, unsigned nth)
{
	static struct victim victim;

	if (victim_start(&victim, "start", fault, nth)) {
		arm(&victim.injection, false);
		tell(&victim, "serves", first_words());
		must_attach(&victim, UID_A, "c");
		check_fds(&victim);
		victim_stop(&victim);
		return victim.injection.has_hit;
	}
	tell(&victim, "ends", first_words());
	insist(&victim, victim.injection.has_hit, "without a fault\n");
	insist(&victim, WEXITSTATUS(victim.status) != 0, "its status is 0\n");
	insist(&victim, says_why(log_text(), fault),
	       "it does not say what failed (status %d)\n", victim.status);
	victim_check_end(&victim);
	return true;
}

static bool fail_attach(const struct fault *fault, unsigned nth)
{
	static struct victim victim;
	struct bystander *bystander;
	struct client *client;

	cr_assert(victim_start(&victim, "attach", fault, nth), "%s",
		  log_text());
	bystander = bystander_start(&victim, "c");
	arm(&victim.injection, true);
	client = client_run(&victim, UID_A, "c", 0);
	arm(&victim.injection, false);
	tell(&victim, client->err ? nr_strerror(client->err) : "attached",
	     client->err ? client->text : first_words());
	insist(&victim, client->err != -ETIMEDOUT, "it was not answered\n");
	insist(&victim, client->err || client->has_read, "no packet comes\n");
	insist(&victim, client->err == 0 || client->text[0],
	       "without a word\n");
	bystander_check(&victim, bystander);
	must_attach(&victim, UID_B, "c");
	must_attach(&victim, UID_A, "c");
	check_fds(&victim);
	victim_stop(&victim);
	return victim.injection.has_hit;
}

static bool fail_reload(const struct fault *fault, unsigned nth)
{
	static struct victim victim;
	struct client *client;

	configure("", "");
	cr_assert(victim_start(&victim, "reload", fault, nth), "%s",
		  log_text());
	must_attach(&victim, UID_A, "c");
	configure("filter = udp\n", "[channel d]\nsource = s\n"
				    "allow = everyone\narena = 4M\n");
	arm(&victim.injection, true);
	client = client_run(&victim, 0, NULL, 0);
	arm(&victim.injection, false);
	tell(&victim, client->err ? nr_strerror(client->err) : "reloaded",
	     client->err ? client->text : first_words());
	insist(&victim, client->err != -ETIMEDOUT, "it was not answered\n");
	must_attach(&victim, UID_B, "c");
	client = client_run(&victim, 0, NULL, 0);
	insist(&victim, client->err == 0, "%s: %s\n", nr_strerror(client->err),
	       client->text);
	must_attach(&victim, UID_B, "d");
	must_attach(&victim, UID_A, "c");
	check_fds(&victim);
	victim_stop(&victim);
	return victim.injection.has_hit;
}

/* What fails may be a line of the log, or what takes the dead one away. */
static bool is_followed(void *data)
{
	struct victim *victim = data;
	const char *first = strstr(log_text(), "serving ");
	pid_t engine = process_child(victim->pid);

	if (has_ended(victim))
		return true;
	return ((first && strstr(first + 1, "serving ")) ||
		(engine > 0 && engine != victim->engine)) &&
	       broker_answers(NULL);
}

/* The engine is killed, and the next one starts. */
static bool fail_restart(const struct fault *fault, unsigned nth)
{
	static struct victim victim;

	cr_assert(victim_start(&victim, "restart", fault, nth), "%s",
		  log_text());
	must_attach(&victim, UID_A, "c");
	victim.engine = broker_engine(&(struct broker){ .pid = victim.pid });
	kill(victim.engine, SIGSTOP); /* it makes no call from here on */
	arm(&victim.injection, true);
	kill(victim.engine, SIGKILL);
	insist(&victim, wait_until(is_followed, &victim, WAIT_MS),
	       "no engine follows\n");
	arm(&victim.injection, false);
	tell(&victim, victim.has_ended ? "ends" : "serves", last_words());
	insist(&victim, !victim.has_ended, "the broker has ended\n");
	if (strstr(log_text(), "trace.pcap: ")) {
		/* Told: a file that is no more keeps nobody else waiting. */
		victim_stop(&victim);
		return true;
	}
	must_attach(&victim, UID_B, "c");
	must_attach(&victim, UID_A, "c");
	check_fds(&victim);
	victim_stop(&victim);
	return victim.injection.has_hit;
}

/* ----------------------------------------------------- in the client's process
 */

/* Shared: what became of it. */
struct suspect {
	struct calls calls;
	struct injection injection;
	int err, end;
	unsigned left; /* descriptors more than before */
};

static unsigned open_now(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static int attach_and_leave(void *data)
{
	struct suspect *suspect = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct nr_batch batch;
	unsigned before = open_now();

	calls_enter(&suspect->calls);
	before += 1; /* the listener of the filter */
	options.follow = 1;
	suspect->err = nr_capture_open("c", &options, &capture);
	if (suspect->err == 0) {
		suspect->end = nr_capture_recv(capture, &batch, 5000);
		if (suspect->end == 1)
			nr_batch_release(&batch);
		nr_capture_close(capture);
	}
	arm(&suspect->injection, false); /* what is counted with fcntl */
	suspect->left = open_now() - before;
	return 0;
}

/* It goes on, or is told an error; and leaves nothing open. */
static bool fail_client(const struct fault *fault, unsigned nth)
{
	static struct suspect *suspect;
	const struct injection *i;

	if (!suspect)
		suspect = shared_memory(sizeof(*suspect));
	memset(suspect, 0, sizeof(*suspect));
	i = &suspect->injection;
	suspect->injection = (struct injection){
		.phase = "client", .fault = fault, .nth = nth, .is_armed = true
	};
	suspect->calls.fn = decide;
	suspect->calls.data = &suspect->injection;
	suspect->calls.numbers[suspect->calls.count++] = fault->number;
	calls_watch(&suspect->calls);
	cr_assert_eq(child_wait(child_start(UID_A, attach_and_leave, suspect)),
		     0, "%s number %u", fault->name, nth);
	calls_end(&suspect->calls);
	if (i->has_hit)
		fprintf(stderr, "client %-22s%3u: %s\n", fault->name, nth,
			suspect->err	  ? nr_strerror(suspect->err) :
			suspect->end == 1 ? "attached" :
					    nr_strerror(suspect->end));
	cr_assert_neq(suspect->err, -ETIMEDOUT);
	cr_assert(suspect->err || suspect->end, "no packet comes");
	cr_assert_eq(suspect->left, 0, "%s number %u: %u descriptors are left",
		     fault->name, nth, suspect->left);
	return i->has_hit;
}

/* In short, of the faults every third from @first on, and of these few. */
static void fail_each(bool (*run)(const struct fault *fault, unsigned nth),
		      unsigned first)
{
	static const struct fault none = { "nothing", SYS_memfd_create, 0 };
	const char *wanted = getenv("NETRING_INJECT");
	const char *only = getenv("NETRING_INJECT_CALL");
	bool wants_all = (wanted && strcmp(wanted, "all") == 0) || only;
	unsigned hits = 0;

	run(&none, UINT32_MAX);
	for (unsigned i = 0; i < FAULTS; i++) {
		unsigned nth = 1;

		if (only ? strcmp(only, faults[i].name) != 0 :
			   !wants_all && i % 3 != first)
			continue;
		while (run(&faults[i], nth) && (wants_all || nth < 5)) {
			hits++;
			nth += wants_all ? 1 : 4;
		}
	}
	fprintf(stderr, "%u faults\n", hits);
	cr_assert(only || hits > 0);
}

/* ------------------------------------------------------------------ backends
 */

static char replay_keys[256];

static void set_socket(void)
{
	setenv(NR_SOCKET_ENV, test_path("broker.sock"), 1);
	strcpy(log_path, test_path("broker.log"));
	/* What a broker leaves behind becomes ours, and is seen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void prepare_replay(void)
{
	struct trace trace;

	need_root();
	set_socket();
	trace_init(&trace, 1000, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	snprintf(replay_keys, sizeof(replay_keys),
		 "backend = replay\nfile = %s\nrate = 5000\nloop = yes\n",
		 test_path("trace.pcap"));
	backend_keys = replay_keys;
	configure("", "");
}

static struct live live;

static void prepare_live(const char *keys)
{
	static struct stream_of_frames frames = { .interface = "outside",
						  .describe = traffic_mix,
						  .rate = 2000,
						  .cpu = -1 };

	live_network(&live);
	set_socket();
	backend_keys = keys;
	configure("", "");
	frames_start(&frames);
}

#define PACKET "interface = inside\nring_size = 4M\n"
#define XDP "interface = inside\nbackend = xdp\nsmall_pages = yes\n"

Test(inject, into_the_start_of_a_replay)
{
	prepare_replay();
	fail_each(fail_start, 0);
}

Test(inject, into_the_start_of_a_live_capture)
{
	prepare_live(PACKET);
	fail_each(fail_start, 1);
}

Test(inject, into_the_start_of_af_xdp)
{
	prepare_live(XDP);
	fail_each(fail_start, 2);
}

Test(inject, into_an_attach_to_a_replay)
{
	prepare_replay();
	fail_each(fail_attach, 1);
}

Test(inject, into_an_attach_to_a_live_capture)
{
	prepare_live(PACKET);
	fail_each(fail_attach, 2);
}

Test(inject, into_an_attach_to_af_xdp)
{
	prepare_live(XDP);
	fail_each(fail_attach, 0);
}

Test(inject, into_the_client_that_attaches)
{
	static struct broker broker;

	prepare_replay();
	broker_start_args(&broker, NULL, "-c", test_path("broker.conf"), NULL);
	fail_each(fail_client, 0);
	broker_stop(&broker);
}

Test(inject, into_a_reload)
{
	prepare_live(PACKET);
	fail_each(fail_reload, 2);
}

Test(inject, into_a_reload_of_af_xdp)
{
	prepare_live(XDP);
	fail_each(fail_reload, 0);
}

Test(inject, into_the_start_of_another_engine_of_a_replay)
{
	prepare_replay();
	fail_each(fail_restart, 2);
}

Test(inject, into_the_start_of_another_engine_of_a_live_capture)
{
	prepare_live(PACKET);
	fail_each(fail_restart, 0);
}

Test(inject, into_the_start_of_another_engine_of_af_xdp)
{
	prepare_live(XDP);
	fail_each(fail_restart, 1);
}
