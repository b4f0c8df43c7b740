// SPDX-License-Identifier: BSD-2-Clause
/*
 * The control socket. Clients of two users, hostile or not, connect, say
 * anything in any order with any descriptors, hang up or half hang up, let
 * deadlines pass, while the configuration changes. The engine's control thread
 * and its lanes run as they are; the warden is a thread here that serves only
 * what a replay needs. After each round the quotas are counted anew; each
 * answer is well formed; when all have gone, nothing is left of them.
 * Input: steps, a byte each, with what they need behind them.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capture.h"
#include "control.h"
#include "log.h"
#include "move.h"
#include "region.h"
#include "session.h"

#define CLIENTS 8
#define UID 4711 /* of every second client, when this runs as root */
#define STUCK_MS 20000
#define FDS_MAX 400
#define CONFIGS 4

static struct control control;
static struct config *configs[CONFIGS];
static uint32_t next_config; /* of a reload; CONFIGS: the text is wrong */
static int clients[CLIENTS]; /* -1: not connected */
static struct nr_return *pages[CLIENTS]; /* that it was given, or NULL */
static int spare;			 /* a descriptor to send along */

/* ----------------------------------------------------------- configurations */

static void add_channel(struct config *config, const char *name,
			uint32_t source, const char *filter, bool everyone)
{
	struct config_channel *channel =
		&config->channels[config->channel_count++];

	config_channel_init(channel, name);
	channel->source = source;
	channel->arena_size = 4 << 20;
	channel->block_size = 128 << 10;
	channel->allow_everyone = everyone;
	memcpy(channel->filter, filter, strlen(filter));
}

static void add_source(struct config *config, const char *name, uint64_t rate)
{
	struct config_source *source = &config->sources[config->source_count++];

	config_source_init(source, name);
	source->backend = BACKEND_REPLAY;
	memcpy(source->file, "fuzz", 5);
	source->rate_mode = RATE_FIXED;
	source->rate = rate;
	source->loop = true;
	source->small_pages = true;
	source->wait = rate ? 1 : 1000; /* never */
	source->rate = rate ? rate : 1;
}

/* What a reload goes to: channels come, go, narrow; a source changes. */
static void make_configs(void)
{
	for (int i = 0; i < CONFIGS; i++) {
		struct config *config = calloc(1, sizeof(*config));

		assert(config);
		config_init(config);
		config->attach_rate = i == 3 ? 50 : 100000;
		config->max_connections = 3; /* of each user there are four */
		config->max_captures = 5;
		config->max_guaranteed = 40;
		add_source(config, "s", i == 3 ? 2000 : 1000);
		add_source(config, "idle", 0);
		add_channel(config, "a", 0, i == 1 ? "udp" : "", i != 2);
		add_channel(config, "b", 1, "", i == 0);
		if (i != 2)
			add_channel(config, "c", i == 1, "tcp", true);
		configs[i] = config;
	}
}

static int config_fd(const struct config *config)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0);
	assert(write(fd, config, sizeof(*config)) == sizeof(*config));
	return fd;
}

/* ----------------------------------------------------------------- warden */

/* Two packets, one of each protocol. */
static int trace_fd(void)
{
	uint8_t file[24 + 2 * (16 + 60)] = { 0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4 };
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	file[18] = 4; /* snap length */
	file[20] = 1; /* Ethernet */
	for (int i = 0; i < 2; i++) {
		uint8_t *record = file + 24 + i * (16 + 60);

		record[8] = record[12] = 60;
		record[16 + 12] = 8; /* IPv4 */
		record[16 + 14] = 0x45;
		record[16 + 14 + 9] = i ? 6 : 17;
	}
	assert(fd >= 0);
	assert(write(fd, file, sizeof(file)) == sizeof(file));
	return fd;
}

static int serve(const struct priv_request *request, struct priv_reply *reply)
{
	int fd;

	switch (request->verb) {
	case PRIV_REPLAY_OPEN:
		return trace_fd();
	case PRIV_RELOAD:
		if (__atomic_load_n(&next_config, __ATOMIC_SEQ_CST) < CONFIGS)
			return config_fd(configs[next_config]);
		reply->reload.is_refused = 1;
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		assert(write(fd, "fuzz:1: wrong\n", 14) == 14);
		return fd;
	case PRIV_PROCESS_NAME:
		memcpy(reply->name, "fuzz\033\n", 7);
		return -1;
	case PRIV_COMMIT:
	case PRIV_ABANDON:
		return -1;
	default:
		assert(!"the engine asks for what no replay needs");
		return -1;
	}
}

static void *warden_main(void *arg)
{
	int socket = *(int *)arg;

	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control_bytes = { 0 };
		struct cmsghdr *cmsg = &control_bytes.align;
		struct priv_reply reply = { 0 };
		struct iovec iov = { &reply, sizeof(reply) };
		struct msghdr header = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control_bytes.bytes,
		};
		struct priv_request request;
		ssize_t n = recv(socket, &request, sizeof(request), 0);
		int fd;

		if (n != sizeof(request))
			return NULL;
		fd = serve(&request, &reply);
		reply.verb = request.verb;
		header.msg_controllen = fd < 0 ? 0 : CMSG_SPACE(sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
		assert(sendmsg(socket, &header, 0) == sizeof(reply));
		if (fd >= 0)
			close(fd);
	}
}

/* ----------------------------------------------------------------- engine */

static void init(void)
{
	static int warden;
	struct region region;
	struct config *config;
	pthread_t thread;
	int pair[2];

	log_set_level(LOG_LEVEL_ERROR - 1);
	make_configs();
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ==
	       0);
	warden = fcntl(pair[0], F_DUPFD_CLOEXEC, 32);
	spare = fcntl(pair[1], F_DUPFD_CLOEXEC, 32);
	assert(dup2(spare, PRIV_FD_WARDEN) >= 0);
	assert(dup2(eventfd(0, EFD_CLOEXEC), PRIV_FD_LISTENER) >= 0);
	close(spare);
	/* Not before: what it opens must not lie where those go. */
	assert(region_init() == 0);
	/* Without memory every attach is refused, and little is tried. */
	assert(region_new(&region, "fuzz", REGION_ALIGN, true) == 0);
	region_free(&region);
	spare = fcntl(eventfd(0, EFD_CLOEXEC), F_DUPFD_CLOEXEC, 32);
	assert(pthread_create(&thread, NULL, warden_main, &warden) == 0);
	config = mmap(NULL, sizeof(*config), PROT_READ, MAP_SHARED,
		      config_fd(configs[0]), 0);
	assert(config != MAP_FAILED);
	control.owner = control.own_uid = geteuid();
	assert(control_init(&control, config) == 0);
	assert(control_open(&control) == 0);
	assert(control_start(&control) == 0);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = -1;
}

/* Lanes owe an answer. */
static bool is_waiting(void)
{
	const struct session *session = control.sessions;
	const struct control_channel *channel = control.channels;

	for (; session; session = session->next)
		if (session->pending > 0)
			return true;
	for (; channel; channel = channel->next)
		if (channel->pending > 0 || channel->ending > 0)
			return true;
	return control.reload_lanes > 0;
}

/* The control thread's loop, until there is nothing to do. */
static void run_control(void)
{
	for (;;) {
		bool waits = is_waiting();
		struct epoll_event event;
		int n = epoll_wait(control.epoll_fd, &event, 1,
				   waits ? STUCK_MS : 0);

		move_check(&control);
		if (n == 0) {
			assert(!waits || !is_waiting());
			if (!is_waiting())
				return;
			continue;
		}
		if (n < 0) {
			assert(errno == EINTR);
			continue;
		}
		((struct event *)event.data.ptr)
			->handle(&control, event.data.ptr, event.events);
	}
}

static void pass_deadlines(void)
{
	struct session *session = control.sessions;

	for (; session; session = session->next)
		if (session->deadline_ns)
			session->deadline_ns = 1;
	session_check_deadlines(&control);
}

/* ------------------------------------------------------------------ checks */

static void check_account(const struct account *account)
{
	uint32_t connections = 0, captures = 0, guaranteed = 0, unacked = 0;
	const struct session *session = control.sessions;

	for (; session; session = session->next) {
		if (session->account != account)
			continue;
		connections++;
		/* One that moves counts once: the one it is now. */
		captures += session->capture != NULL;
		if (session->capture)
			guaranteed += session->capture->guaranteed;
		unacked += session->state == SESSION_UNACKED;
	}
	assert(account->connections == connections);
	assert(account->captures == captures);
	assert(account->guaranteed == guaranteed);
	assert(account->unacked == unacked);
	assert(account->memory <= account->max_memory);
}

static void check_quotas(void)
{
	const struct account *account = control.accounts;
	uint32_t unacked = 0;

	for (; account; account = account->next) {
		check_account(account);
		unacked += account->unacked;
	}
	assert(control.unacked == unacked);
}

/* ----------------------------------------------------------------- clients */

static void drop_page(int i)
{
	if (pages[i])
		munmap(pages[i], NR_PAGE);
	pages[i] = NULL;
}

static void take_page(int i, int fd)
{
	void *page =
		mmap(NULL, NR_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert(page != MAP_FAILED);
	drop_page(i);
	pages[i] = page;
}

static void receive(int i, bool looks)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control_bytes;
	uint8_t bytes[NR_MSG_MAX + 1];
	struct nr_msg msg;
	struct iovec iov = { bytes, sizeof(bytes) };
	struct msghdr header = { .msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control_bytes.bytes,
				 .msg_controllen = sizeof(control_bytes) };
	ssize_t n =
		recvmsg(clients[i], &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg;

	if (n <= 0)
		return;
	memcpy(&msg, bytes, sizeof(msg));
	assert(n >= (ssize_t)sizeof(msg) && msg.length == (size_t)n);
	assert(msg.major == NR_ABI_MAJOR && msg.type >= NR_MSG_ERROR);
	assert(!(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
	cmsg = CMSG_FIRSTHDR(&header);
	for (size_t f = 0; cmsg && CMSG_LEN(f * sizeof(int)) < cmsg->cmsg_len;
	     f++) {
		int fd = ((int *)(void *)CMSG_DATA(cmsg))[f];

		/* Only return pages can be written. */
		if (msg.type == NR_MSG_LANE && looks)
			assert((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
		if (msg.type == NR_MSG_ATTACHED)
			take_page(i, fd);
		close(fd);
	}
}

/* The last ones' answers do not fit, and have to wait for them to read. */
static void connect_client(int i)
{
	int pair[2], little = 1;

	if (clients[i] >= 0)
		return;
	/* The kernel vouches for whoever made the socket: this thread only. */
	if ((i & 1) && control.own_uid == 0)
		syscall(SYS_setresuid, -1, UID, -1);
	assert(socketpair(AF_UNIX,
			  SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
			  pair) == 0);
	if ((i & 1) && control.own_uid == 0)
		syscall(SYS_setresuid, -1, 0, -1);
	clients[i] = pair[0];
	if (i >= CLIENTS - 2)
		assert(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &little,
				  sizeof(little)) == 0);
	session_accept(&control, pair[1]);
}

static void hang_up(int i)
{
	if (clients[i] >= 0)
		close(clients[i]);
	clients[i] = -1;
	drop_page(i);
}

/*
 * What it has not got is given back: its lane ends it when the next packets
 * come, which is in a millisecond. It may take longer, and be told later.
 */
static void break_rules(int i, struct input *in)
{
	struct epoll_event event;

	if (!pages[i])
		return;
	pages[i]->slots[input_byte(in)] = input_u32(in);
	__atomic_store_n(&pages[i]->head, pages[i]->head + input_byte(in),
			 __ATOMIC_RELEASE);
	if (epoll_wait(control.epoll_fd, &event, 1, 5) == 1)
		((struct event *)event.data.ptr)
			->handle(&control, event.data.ptr, event.events);
}

static const size_t lengths[] = { sizeof(struct nr_msg_attach),
				  sizeof(struct nr_msg), sizeof(struct nr_msg),
				  sizeof(struct nr_msg_stat),
				  sizeof(struct nr_msg) };

/*
 * A good request, then as many words of it changed as the input says. Or one
 * that is as long as it says, but not as it should be (a client of a newer
 * minor version says more); or as long as it does not say.
 */
static size_t make_request(struct input *in, uint8_t bytes[NR_MSG_MAX])
{
	struct nr_msg_attach request = { 0 };
	uint32_t what = input_byte(in), changes;
	uint32_t type = NR_MSG_ATTACH + what % 5, terms = input_byte(in);
	size_t length = lengths[type - NR_MSG_ATTACH];

	request.msg = (struct nr_msg){ .major = NR_ABI_MAJOR,
				       .type = type,
				       .length = (uint32_t)length,
				       .id = what };
	if (type == NR_MSG_ATTACH || type == NR_MSG_STAT)
		request.channel[0] = "abc\0"[terms & 3];
	request.lane = terms & 4 ? NR_ALL_LANES : 0;
	request.leases = terms & 8 ? 4 : 0;
	request.flags = terms & 16 ? 0 : NR_ATTACH_FOLLOWS;
	request.group[0] = terms & 32 ? 'g' : '\0';
	request.guarantee = terms >> 6;
	memset(bytes, 0, NR_MSG_MAX);
	if (what >= 200)
		length = input_byte(in) * 4u;
	if (what < 240)
		request.msg.length = (uint32_t)length;
	request.msg.minor = what >= 220 ? NR_ABI_MINOR + 1 : NR_ABI_MINOR;
	memcpy(bytes, &request, sizeof(request));
	for (changes = what / 5 % 4; changes > 0; changes--) {
		uint32_t offset = input_byte(in) % 64 * 4u;
		uint32_t value = input_u32(in);

		memcpy(bytes + offset, &value, sizeof(value));
	}
	return length;
}

static void say(int socket, struct input *in)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control_bytes = { 0 };
	struct cmsghdr *cmsg = &control_bytes.align;
	uint8_t bytes[NR_MSG_MAX];
	uint32_t fds = input_byte(in);
	struct iovec iov = { bytes, make_request(in, bytes) };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fds & 0xc0) { /* seldom */
		fds = 0;
	} else if (fds % 8) {
		fds %= 8;
		header.msg_control = control_bytes.bytes;
		header.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(fds * sizeof(int));
		for (uint32_t i = 0; i < fds; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &spare,
			       sizeof(spare));
	}
	(void)sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void step(struct input *in)
{
	uint32_t what = input_byte(in), i = what >> 4 & 7;

	switch (what & 15) {
	case 0:
	case 1:
		connect_client((int)i);
		break;
	case 2:
		hang_up((int)i);
		break;
	case 3:
		if (clients[i] >= 0)
			shutdown(clients[i], what >> 7 ? SHUT_WR : SHUT_RD);
		break;
	case 4:
		pass_deadlines();
		break;
	case 5: /* SIGHUP */
		__atomic_store_n(&next_config, i % (CONFIGS + 1),
				 __ATOMIC_SEQ_CST);
		control_reload(&control, NULL);
		break;
	case 6:
	case 7:
		if (clients[i] >= 0)
			receive((int)i, true);
		break;
	case 8:
		break_rules((int)i, in);
		break;
	case 9: /* several at once: the round comes later */
		if (clients[i] >= 0)
			say(clients[i], in);
		return;
	default:
		if (clients[i] >= 0)
			say(clients[i], in);
	}
	run_control();
	check_quotas();
}

/* Everybody has gone: the next input finds it as this one did. */
static void leave(void)
{
	int fd;

	for (int i = 0; i < CLIENTS; i++)
		hang_up(i);
	run_control();
	while (control.sessions || control.moves) {
		pass_deadlines();
		run_control();
	}
	check_quotas();
	fd = dup(spare);
	close(fd);
	assert(fd < FDS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!control.config)
		init();
	while (in.left)
		step(&in);
	leave();
	return 0;
}
