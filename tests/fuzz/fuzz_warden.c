// SPDX-License-Identifier: BSD-2-Clause
/*
 * The warden's verbs, asked by an engine that was taken over. The warden's own
 * code runs, on a socket pair; what it would do to the system is counted here
 * instead. Whatever the requests: what is in the policy is done with the lane
 * that was named, what is not ends the warden at once, no descriptor is left
 * behind or given twice, and after a reload each socket is at its source's
 * new place or closed.
 * Input: requests: verb, then source, interface, lane, count; a few are wrong
 * in length. Before each a byte of what the system answers. One that is none
 * is the death of the engine, whose rings the next one goes on with.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static jmp_buf ended;

/* The ends of a warden, which has kill() done on its way. */
__attribute__((noreturn)) static void fuzz_exit(int status)
{
	assert(status == 1);
	longjmp(ended, 1);
}

static int fuzz_kill(int pid, int signal)
{
	(void)signal;
	assert(pid == getpid());
	return 0;
}

static int fuzz_nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)left;
	assert(time->tv_sec == 0 && time->tv_nsec > 0);
	return 0;
}

/* First all that it includes, so that the names are theirs there. */
#include "warden_held.h"
#include <bpf/bpf.h>
#include <signal.h>
#include <sys/socket.h>

#define exit fuzz_exit
#define kill fuzz_kill
#define nanosleep fuzz_nanosleep
#define bpf_map_create(...) open_something()
#define held_pages_add fuzz_held_pages_add
#define sendmsg fuzz_sendmsg
static int open_something(void);
static int fuzz_held_pages_add(int fd, uint32_t pages);
static ssize_t fuzz_sendmsg(int socket, const struct msghdr *msg, int flags);
#include "../../broker/warden_verbs.c"
#undef held_pages_add
#undef exit
#undef kill
#undef nanosleep
#undef sendmsg

#define SOCKETS_MAX 4096
#define NO_DESCRIPTOR 100000 /* and those behind it */
#define DEATH 254

/* What the "system" has handed out: sockets by number, and whose they are. */
static struct {
	bool is_open;
	bool is_xdp;
	char source[NR_NAME_MAX];
	uint32_t index; /* of the lane in the source */
} sockets[SOCKETS_MAX];
static int socket_count;
static int nothing; /* a descriptor of /dev/null */
static int rings;   /* the engine's end */
static bool fails;  /* the system, the next time */
static struct warden warden;
static struct config *configs[3];
static int next_config; /* of a reload; 3: the text is wrong */
static struct priv_request asked;
static int restores;
static bool may; /* what is asked now be done */

static int open_something(void)
{
	return fails ? -EPERM : dup(nothing);
}

static int fuzz_held_pages_add(int fd, uint32_t pages)
{
	assert(fd >= 0 && pages > 0);
	return 0;
}

/* The sockets here are numbers that are no descriptors: nothing goes. */
static ssize_t fuzz_sendmsg(int socket, const struct msghdr *msg, int flags)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int *fds = cmsg ? (int *)(void *)CMSG_DATA(cmsg) : NULL;
	size_t count = cmsg ? (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

	for (size_t i = 0; i < count; i++)
		if (fds[i] >= NO_DESCRIPTOR)
			fds[i] = nothing;
	return sendmsg(socket, msg, flags);
}

/* ---------------------------------------------------- the system's effects */

static int open_socket(bool is_xdp, const struct config_source *source,
		       uint32_t index)
{
	assert(socket_count < SOCKETS_MAX);
	sockets[socket_count].is_open = true;
	sockets[socket_count].is_xdp = is_xdp;
	memcpy(sockets[socket_count].source, source->name, NR_NAME_MAX);
	sockets[socket_count].index = index;
	return socket_count++;
}

static void close_socket(int number)
{
	assert(number < socket_count && sockets[number].is_open);
	sockets[number].is_open = false;
}

/* The configuration that an index is of: the present, or the next. */
static const struct config *config_of(uint32_t index)
{
	return index < PRIV_NEXT ? warden.options->config : warden.next;
}

static const struct config_source *source_at(uint32_t index)
{
	const struct config *config = config_of(index);

	assert(config && index % PRIV_NEXT < config->source_count);
	return &config->sources[index % PRIV_NEXT];
}

static uint32_t source_index(const struct config_source *source)
{
	for (uint32_t i = 0; i < SOURCES_MAX; i++) {
		const struct config *config = config_of(i);

		if (config && i % PRIV_NEXT < config->source_count &&
		    source == &config->sources[i % PRIV_NEXT])
			return i;
	}
	assert(!"this is no source");
	return 0;
}

/* Of all that the engine has, nothing is gone or closed. */
static bool has_all(const struct packet_socket *first, uint32_t lanes)
{
	for (uint32_t l = 0; l < lanes; l++)
		if (first[l].fd < 0)
			return false;
	return !fails;
}

/* Whether the present configuration has a source that is the same. */
static bool is_kept_by_reload(const struct config_source *source,
			      uint32_t index)
{
	const struct config *config = warden.options->config;

	for (uint32_t s = 0; index >= PRIV_NEXT && s < config->source_count;
	     s++)
		if (config_source_is_same(source, &config->sources[s]))
			return true;
	return false;
}

bool asroot_packet_is_bound(const struct config_source *source,
			    uint32_t interface,
			    const struct packet_socket *socket)
{
	assert(interface < source->interface_count && socket->fd >= 0);
	return !fails;
}

int asroot_packet_open(const struct config_source *source, uint32_t interface,
		       uint32_t lane, struct packet_socket *socket,
		       const struct packet_socket *first,
		       struct priv_reply *reply)
{
	uint32_t index = source_index(source);

	(void)reply;
	assert(source->backend == BACKEND_PACKET);
	assert(!is_kept_by_reload(source, index));
	assert(!socket->is_lent || !has_all(first, source->lanes));
	assert(interface < source->interface_count && lane < source->lanes);
	assert(first == &warden.sockets[index][interface * source->lanes]);
	assert(socket == first + lane);
	asroot_packet_close(socket);
	if (fails)
		return -ENODEV;
	/* Numbers that are no descriptors of ours. */
	socket->fd =
		NO_DESCRIPTOR +
		open_socket(false, source, interface * source->lanes + lane);
	socket->epoll_fd = nothing;
	return 0;
}

int asroot_packet_lend(const struct config_source *source, uint32_t interface,
		       struct packet_socket *socket, struct priv_reply *reply)
{
	(void)reply;
	assert(source->backend == BACKEND_PACKET);
	assert(interface < source->interface_count);
	assert(socket->is_kept && sockets[socket->fd - NO_DESCRIPTOR].is_open);
	if (fails)
		return -ENODEV;
	socket->is_kept = false;
	return 0;
}

int asroot_packet_start(const struct config_source *source,
			struct packet_socket *socket)
{
	(void)source_index(source);
	assert(sockets[socket->fd - NO_DESCRIPTOR].is_open);
	return fails ? -EINVAL : 0;
}

int asroot_packet_stats(struct packet_socket *socket)
{
	return socket->fd < 0 ? -EBADF : 0;
}

void asroot_packet_error(const struct config_source *source, uint32_t interface,
			 const struct packet_socket *socket,
			 struct priv_reply *reply)
{
	assert(interface < source->interface_count && socket->fd >= 0);
	reply->link.state = PRIV_LINK_UP;
}

void asroot_packet_close(struct packet_socket *socket)
{
	if (socket->fd >= 0)
		close_socket(socket->fd - NO_DESCRIPTOR);
	socket->fd = -1;
	socket->is_kept = false;
}

int asroot_xdp_umem(const struct config_source *source, uint32_t interface,
		    uint32_t lane, unsigned flags, struct xdp_socket *socket,
		    struct redirection *redirection, uint32_t *left,
		    struct priv_reply *reply)
{
	uint32_t index = source_index(source);

	(void)flags;
	(void)reply;
	assert(redirection == &warden.redirections[index][interface]);
	assert(socket ==
	       &warden.xdp_sockets[index][interface * source->lanes + lane]);
	if (fails || *left == 0)
		return -ENOMEM;
	--*left;
	socket->next_umem.fd = nothing;
	return 0;
}

int asroot_xdp_open(const struct config_source *source, uint32_t interface,
		    uint32_t lane, unsigned flags, struct xdp_socket *socket,
		    struct redirection *redirection, struct priv_reply *reply)
{
	uint32_t index = source_index(source);

	(void)flags;
	(void)reply;
	assert(source->backend == BACKEND_XDP);
	assert(interface < source->interface_count && lane < source->lanes);
	assert(redirection == &warden.redirections[index][interface]);
	assert(socket ==
	       &warden.xdp_sockets[index][interface * source->lanes + lane]);
	asroot_xdp_close(socket);
	if (fails)
		return -EBUSY;
	socket->fd =
		NO_DESCRIPTOR +
		open_socket(true, source, interface * source->lanes + lane);
	socket->umem.fd = nothing;
	return 0;
}

int asroot_xdp_take(const struct config_source *source, uint32_t interface,
		    uint32_t lane, const struct xdp_socket *socket,
		    struct redirection *redirection, uint32_t how,
		    struct priv_reply *reply)
{
	(void)redirection;
	(void)how;
	(void)reply;
	assert(lane < source->lanes && interface < source->interface_count);
	return socket->fd < 0 ? -EBADF : 0;
}

int asroot_xdp_stats(const struct config_source *source, uint32_t interface,
		     const struct xdp_socket *socket,
		     struct redirection *redirection, struct priv_reply *reply)
{
	(void)redirection;
	(void)reply;
	assert(*source->interfaces[interface]);
	return socket->fd < 0 ? -EBADF : 0;
}

void asroot_xdp_link(const struct config_source *source, uint32_t interface,
		     const struct xdp_socket *socket,
		     struct redirection *redirection, struct priv_reply *reply)
{
	(void)socket;
	(void)redirection;
	assert(interface < source->interface_count);
	reply->link.state = PRIV_LINK_DOWN;
}

void asroot_xdp_close(struct xdp_socket *socket)
{
	if (socket->fd >= 0)
		close_socket(socket->fd - NO_DESCRIPTOR);
	socket->fd = -1;
}

bool asroot_xdp_forget(struct xdp_socket *socket)
{
	bool is_made = socket->next_umem.fd == nothing;

	socket->next_umem.fd = -1;
	return is_made;
}

/* Only of the interface that was named. */
void asroot_xdp_release(struct xdp_socket *socket)
{
	const struct xdp_socket *first =
		&warden.xdp_sockets[asked.source]
				   [asked.interface *
				    source_at(asked.source)->lanes];

	assert(socket >= first &&
	       socket < first + source_at(asked.source)->lanes);
	asroot_xdp_close(socket);
}

void redirect_refuse(struct redirection *redirection, const char *format, ...)
{
	(void)redirection;
	(void)format;
}

void redirect_detach(struct redirection *redirection)
{
	(void)redirection;
}

void offload_off(const char *interface)
{
	assert(*interface);
}

void offload_restore_others(const struct config *config)
{
	assert(config == warden.options->config);
}

void offload_restore(void)
{
	restores++;
}

/* --------------------------------------------------------- configurations */

static struct config *map_config(int *fd)
{
	struct config *config;

	*fd = memfd_create("fuzz", MFD_CLOEXEC);
	assert(*fd >= 0 && ftruncate(*fd, sizeof(*config)) == 0);
	config = mmap(NULL, sizeof(*config), PROT_READ | PROT_WRITE, MAP_SHARED,
		      *fd, 0);
	assert(config != MAP_FAILED);
	return config;
}

const struct config *start_config(const struct start_options *options, int *fd)
{
	struct config *config;

	assert(strcmp(options->config_file, "fuzz") == 0);
	if (next_config == 3) {
		fprintf(stderr, "fuzz:1: wrong\n");
		return NULL;
	}
	config = map_config(fd);
	memcpy(config, configs[next_config], sizeof(*config));
	return config;
}

int start_check(const struct config *config, const char *name)
{
	(void)config;
	(void)name;
	return fails;
}

static void add_source(struct config *config, const char *name,
		       enum config_backend backend, uint32_t interfaces,
		       uint32_t lanes)
{
	struct config_source *source = &config->sources[config->source_count++];

	config_source_init(source, name);
	source->backend = backend;
	source->interface_count = interfaces;
	for (uint32_t i = 0; i < interfaces; i++)
		snprintf(source->interfaces[i], NR_NAME_MAX, "eth%u", i);
	source->lanes = lanes;
	source->offloads_off = true;
	if (backend == BACKEND_REPLAY)
		snprintf(source->file, sizeof(source->file), "/dev/null");
}

/* Three: each source goes, stays elsewhere, or changes in one of them. */
static void make_configs(void)
{
	for (int i = 0; i < 3; i++) {
		configs[i] = calloc(1, sizeof(struct config));
		assert(configs[i]);
		config_init(configs[i]);
	}
	add_source(configs[0], "a", BACKEND_PACKET, 2, 4);
	add_source(configs[0], "b", BACKEND_XDP, 2, 3);
	add_source(configs[0], "c", BACKEND_REPLAY, 0, 1);
	add_source(configs[0], "d", BACKEND_PACKET, 8, 2);
	add_source(configs[1], "d", BACKEND_PACKET, 8, 2);
	add_source(configs[1], "c", BACKEND_REPLAY, 0, 1);
	add_source(configs[1], "b", BACKEND_XDP, 2, 3);
	add_source(configs[1], "a", BACKEND_XDP, 2, 4);
	add_source(configs[2], "b", BACKEND_XDP, 1, 16);
	for (int i = 1; i < CONFIG_SOURCES_MAX; i++) {
		char name[2] = { (char)('b' + i), '\0' };

		add_source(configs[2], name, BACKEND_PACKET, 1, 16);
	}
}

/* ------------------------------------------------------------------ checks */

/* What the engine may ask: said here a second time. */
static bool is_allowed(const struct priv_request *request)
{
	const struct config_source *source;
	const struct config *config;
	uint32_t backend = BACKEND_PACKET;

	switch (request->verb) {
	case PRIV_START:
	case PRIV_READY:
	case PRIV_RELOAD:
	case PRIV_ABANDON:
	case PRIV_PROCESS_NAME:
		return true;
	case PRIV_COMMIT:
		return warden.next;
	case PRIV_RETURN_PAGES:
		return request->count >= 1 && request->count <= NR_LANES_MAX;
	case PRIV_XDP_UMEM:
	case PRIV_XDP_OPEN:
	case PRIV_XDP_CLOSE:
	case PRIV_XDP_TAKE:
	case PRIV_XDP_STATS:
	case PRIV_XDP_LINK:
		backend = BACKEND_XDP;
		break;
	case PRIV_REPLAY_OPEN:
		backend = BACKEND_REPLAY;
		break;
	case PRIV_PACKET_OPEN:
	case PRIV_PACKET_START:
	case PRIV_PACKET_STATS:
	case PRIV_PACKET_ERROR:
	case PRIV_PACKET_USERS:
	case PRIV_PACKET_BROKEN:
		break;
	default:
		return false;
	}
	if (request->source >= SOURCES_MAX)
		return false;
	config = config_of(request->source);
	if (!config || request->source % PRIV_NEXT >= config->source_count)
		return false;
	source = source_at(request->source);
	if (source->backend != backend)
		return false;
	return request->verb == PRIV_REPLAY_OPEN ||
	       request->verb == PRIV_PACKET_START ||
	       (request->interface < source->interface_count &&
		request->lane < source->lanes);
}

static void check_slot(int fd, bool is_xdp, uint32_t source, uint32_t index)
{
	int number = fd - NO_DESCRIPTOR;

	if (fd < 0)
		return;
	assert(sockets[number].is_open && sockets[number].is_xdp == is_xdp);
	assert(sockets[number].index == index);
	assert(strcmp(sockets[number].source, source_at(source)->name) == 0);
}

/* Each socket that is open is in its place, and there only. */
static void check_sockets(void)
{
	int in_place = 0, open = 0;

	for (uint32_t s = 0; s < SOURCES_MAX; s++)
		for (uint32_t l = 0; l < LANES_MAX; l++) {
			check_slot(warden.sockets[s][l].fd, false, s, l);
			check_slot(warden.xdp_sockets[s][l].fd, true, s, l);
			in_place += (warden.sockets[s][l].fd >= 0) +
				    (warden.xdp_sockets[s][l].fd >= 0);
		}
	for (int i = 0; i < socket_count; i++)
		open += sockets[i].is_open;
	assert(in_place == open);
}

/* One for each ring that is given, and no other. */
static void take_ring(bool is_given)
{
	uint32_t number;
	ssize_t n = recv(rings, &number, sizeof(number), MSG_DONTWAIT);

	assert(is_given ? n == sizeof(number) : n < 0);
	assert(!is_given || number == warden.rings_sent);
}

/* The reply, and the descriptors that came with it, closed. */
static void take_reply(int socket, uint32_t verb)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct priv_reply reply;
	struct iovec iov = { &reply, sizeof(reply) };
	struct msghdr header = { .msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg;
	ssize_t n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	assert(n == sizeof(reply) && reply.verb == verb && reply.status <= 0);
	cmsg = CMSG_FIRSTHDR(&header);
	assert(!cmsg || reply.status == 0);
	for (size_t i = 0; cmsg && CMSG_LEN(i * sizeof(int)) < cmsg->cmsg_len;
	     i++)
		close(((int *)(void *)CMSG_DATA(cmsg))[i]);
	take_ring(verb == PRIV_PACKET_OPEN && reply.status == 0);
	assert(recv(socket, &reply, sizeof(reply), MSG_DONTWAIT) < 0);
}

/* -------------------------------------------------------------------- run */

static void init(struct warden_options *options)
{
	static const struct start_options start = { .config_file = "fuzz" };

	if (!configs[0]) {
		int quiet = open("/dev/null", O_RDWR | O_CLOEXEC);

		make_configs();
		nothing = fcntl(quiet, F_DUPFD_CLOEXEC, 64);
		log_set_level(LOG_LEVEL_ERROR - 1);
	}
	memset(&warden, 0, sizeof(warden));
	for (int s = 0; s < SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			warden.sockets[s][l].fd = warden.xdp_sockets[s][l].fd =
				-1;
	socket_count = 0;
	warden.engine = getpid(); /* who sends */
	warden.options = options;
	options->start = &start;
	next_config = 0;
	fails = false;
	options->config = start_config(&start, &options->config_fd);
	warden_allow_frames(&warden, options->config);
}

/* As asroot_packet_keep() leaves what a dead engine had: some, or none. */
static void die(void)
{
	for (uint32_t s = 0; s < SOURCES_MAX; s++)
		for (uint32_t l = 0; l < LANES_MAX; l++)
			warden.sockets[s][l].is_lent = false;
	for (uint32_t s = 0; s < PRIV_NEXT; s++)
		for (uint32_t l = 0; l < LANES_MAX; l++)
			if (warden.sockets[s][l].is_broken) {
				asroot_packet_close(&warden.sockets[s][l]);
				warden.sockets[s][l].is_broken = false;
			} else if (warden.sockets[s][l].fd >= 0) {
				warden.sockets[s][l].is_kept = true;
			}
}

static void ask(int socket, struct input *in)
{
	uint32_t flags = input_byte(in);
	struct priv_request request = { .verb = input_byte(in),
					.source = input_byte(in),
					.interface = input_byte(in),
					.lane = input_byte(in),
					.count = input_byte(in) };
	uint8_t message[2 * sizeof(request)] = { 0 };
	size_t length = sizeof(request);

	if (request.verb == DEATH) {
		die();
		return;
	}
	fails = flags & 1;
	next_config = flags >> 1 & 3;
	if (flags & 8) /* large numbers */
		request.source |= input_u32(in);
	if (flags & 16)
		request.lane |= input_u32(in);
	if (flags & 32)
		request.count |= input_u32(in);
	if (flags & 64)
		request.verb |= input_u32(in);
	if (flags & 128)
		length = 1 + input_below(in, sizeof(message));
	memcpy(message, &request, sizeof(request));
	asked = request;
	assert(send(socket, message, length, 0) == (ssize_t)length);
	/* Before it is served: a reload changes what is. */
	may = length == sizeof(request) && is_allowed(&request);
	restores = 0;
	if (setjmp(ended) == 0) {
		warden_serve_request(&warden);
		assert(may);
		take_reply(socket, request.verb);
	} else {
		assert(!may && restores == 1);
		in->left = 0; /* it is no more */
	}
	check_sockets();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct warden_options options = { 0 };
	unsigned before = nothing ? open_descriptors() : 0;
	const int yes = 1;
	int pair[2], ring_pair[2];

	init(&options);
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ==
	       0);
	assert(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &yes,
			  sizeof(yes)) == 0);
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			  ring_pair) == 0);
	warden.engine_socket = pair[0];
	warden.rings_socket = ring_pair[0];
	rings = ring_pair[1];
	while (in.left && socket_count < SOCKETS_MAX)
		ask(pair[1], &in);
	assert(warden.pages_made <= RETURN_PAGES_MAX);
	warden_abandon(&warden);
	munmap((void *)(uintptr_t)options.config, sizeof(struct config));
	close(options.config_fd);
	close(pair[0]);
	close(pair[1]);
	close(ring_pair[0]);
	close(ring_pair[1]);
	assert(!before || open_descriptors() == before);
	return 0;
}
