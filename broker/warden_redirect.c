// SPDX-License-Identifier: BSD-2-Clause
/*
 * The program hangs on a bpf_link that this process owns: whatever ends the
 * process takes the program off the interface. Without an entry for its queue
 * in the program's map a packet passes to the host.
 */
#include "warden_redirect.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/membarrier.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "redirect.h"
#include "redirect.skel.h"
#include "warden_offload.h"

#ifndef BPF_F_XDP_DEV_BOUND_ONLY
#define BPF_F_XDP_DEV_BOUND_ONLY (1U << 6)
#endif

__attribute__((format(printf, 2, 0))) static int
print_debug(enum libbpf_print_level level, const char *format, va_list args)
{
	char text[1024];
	int length = vsnprintf(text, sizeof(text), format, args);

	if (length > 0 && level != LIBBPF_DEBUG)
		log_debug("%.*s", (int)strcspn(text, "\n"), text);
	return length;
}

void redirect_refuse(struct redirection *redirection, const char *format, ...)
{
	char text[REFUSAL_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (strcmp(text, redirection->refusal) == 0)
		return;
	memcpy(redirection->refusal, text, sizeof(text));
	log_error("%s", text);
}

/* ------------------------------------------------- programs of other people */

static void name_of_program(char *name, size_t size, uint32_t id)
{
	struct bpf_prog_info info = { 0 };
	uint32_t length = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	snprintf(name, size, "?");
	if (fd < 0)
		return;
	if (bpf_obj_get_info_by_fd(fd, &info, &length) == 0 && info.name[0])
		snprintf(name, size, "%s", info.name);
	close(fd);
}

/* 0: there is none. */
static uint32_t foreign_program(unsigned ifindex)
{
	struct bpf_xdp_query_opts query = { .sz = sizeof(query) };

	if (bpf_xdp_query((int)ifindex, 0, &query))
		return 0;
	return query.drv_prog_id ? query.drv_prog_id :
	       query.skb_prog_id ? query.skb_prog_id :
	       query.hw_prog_id	 ? query.hw_prog_id :
				   query.prog_id;
}

static int refuse_foreign(struct redirection *redirection,
			  const struct config_source *source, const char *name,
			  uint32_t id)
{
	char program[64];

	name_of_program(program, sizeof(program), id);
	redirect_refuse(
		redirection,
		"source %s: %s has an XDP program of somebody else, '%s' (id "
		"%u): it is not replaced. Take it off (ip link set %s xdp "
		"off), or use backend = af_packet",
		source->name, name, program, id, name);
	return -EBUSY;
}

/* -------------------------------------------------------------- attaching */

static void warn_of_tags(struct redirection *redirection, const char *name)
{
	if (redirection->has_warned || !offload_strips_tags(name))
		return;
	redirection->has_warned = true;
	log_warn(
		"%s: rx-vlan-offload is on, and AF_XDP cannot see the tags that "
		"it takes off: VLANs would look untagged. Set offloads = off, "
		"or ethtool -K %s rxvlan off",
		name, name);
}

/*
 * What its sender has left to the device to be segmented is larger than the
 * MTU. (Merging on reception the kernel leaves out, for an interface that has
 * an XDP program.)
 */
static void warn_of_large(struct redirection *redirection, const char *name,
			  uint32_t size)
{
	if (redirection->has_warned_large)
		return;
	redirection->has_warned_large = true;
	log_warn("%s: a packet of %u bytes did not fit a frame: such packets "
		 "are dropped, and counted. The peer of a virtual interface "
		 "sends them unsegmented: use mode = driver, or ethtool -K "
		 "PEER tso off gso off there",
		 name, size);
}

static void warn_of_front(struct redirection *redirection, const char *name)
{
	if (redirection->has_warned_front)
		return;
	redirection->has_warned_front = true;
	log_warn("%s: its driver left no room in front of a packet, though it "
		 "did before: such packets are left to the host. Set mode = "
		 "generic",
		 name);
}

struct attempt {
	bool is_bound; /* may ask the driver, which not every driver answers */
	uint32_t flags;
};

static const struct attempt attempts[] = {
	{ true, XDP_FLAGS_DRV_MODE },
	{ false, XDP_FLAGS_DRV_MODE },
	{ false, XDP_FLAGS_SKB_MODE },
};

static bool is_wanted(const struct config_source *source,
		      const struct attempt *attempt)
{
	bool is_generic = attempt->flags == XDP_FLAGS_SKB_MODE;

	return source->attach == ATTACH_AUTO ||
	       is_generic == (source->attach == ATTACH_GENERIC);
}

static struct redirect *load(const struct config_source *source,
			     unsigned ifindex, bool is_bound, uint32_t magic)
{
	struct redirect *program = redirect__open();
	uint32_t queues = 1;
	int err;

	if (!program)
		return NULL;
	for (uint32_t i = 0; i < source->lanes; i++)
		if (config_queue(source, i) >= queues)
			queues = config_queue(source, i) + 1;
	program->rodata->use_hardware_clock = source->clock == CLOCK_HARDWARE;
	program->rodata->magic = magic;
	program->rodata->room = config_frame_room(source);
	bpf_map__set_max_entries(program->maps.sockets, queues);
	bpf_map__set_max_entries(program->maps.passed, queues);
	bpf_program__set_autoload(program->progs.netring_bound, is_bound);
	bpf_program__set_autoload(program->progs.netring_redirect, !is_bound);
	if (is_bound) {
		bpf_program__set_flags(program->progs.netring_bound,
				       BPF_F_XDP_DEV_BOUND_ONLY);
		bpf_program__set_ifindex(program->progs.netring_bound, ifindex);
	}
	err = -redirect__load(program);
	/* libbpf could not find out whether maps can be mapped: nothing is. */
	if (!err && !program->bss)
		err = ENOMEM;
	if (!err)
		return program;
	redirect__destroy(program);
	errno = err;
	return NULL;
}

static int try(struct redirection *redirection,
	       const struct config_source *source, unsigned ifindex,
	       const struct attempt *attempt)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = attempt->flags);
	struct redirect *program;
	uint32_t magic;
	int fd, link;

	/* Not what another program has left in frames that go on. */
	if (getrandom(&magic, sizeof(magic), 0) != sizeof(magic))
		return -EIO;
	program = load(source, ifindex, attempt->is_bound, magic | 1);
	if (!program)
		return errno ? -errno : -ENOMEM;
	fd = bpf_program__fd(attempt->is_bound ?
				     program->progs.netring_bound :
				     program->progs.netring_redirect);
	link = bpf_link_create(fd, (int)ifindex, BPF_XDP, &opts);
	if (link < 0) {
		redirect__destroy(program);
		return link;
	}
	redirection->program = program;
	redirection->link = link;
	redirection->ifindex = ifindex;
	redirection->magic = magic | 1;
	redirection->is_generic = attempt->flags == XDP_FLAGS_SKB_MODE;
	/* What the driver can tell, it may tell of tags, too. */
	redirection->has_warned = false;
	redirection->has_warned_large = false;
	redirection->has_warned_front = false;
	return 0;
}

static void log_attached(const struct redirection *redirection,
			 const struct config_source *source, const char *name,
			 bool is_bound)
{
	if (redirection->refusal[0])
		return; /* tried again and again, and a lane is refused */
	log_info("source %s: %s: XDP in %s mode%s", source->name, name,
		 redirection->is_generic ? "generic" : "driver",
		 is_bound ? ", asks the driver" : "");
}

static int try_all(struct redirection *redirection,
		   const struct config_source *source, const char *name,
		   unsigned ifindex)
{
	int err = -EOPNOTSUPP;
	uint32_t foreign;

	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		if (!is_wanted(source, &attempts[i]))
			continue;
		err = try(redirection, source, ifindex, &attempts[i]);
		if (err == 0) {
			log_attached(redirection, source, name,
				     attempts[i].is_bound);
			if (!attempts[i].is_bound)
				warn_of_tags(redirection, name);
			return 0;
		}
		foreign = foreign_program(ifindex);
		if (foreign)
			return refuse_foreign(redirection, source, name,
					      foreign);
		log_debug("source %s: %s: attempt %zu: %s", source->name, name,
			  i, strerror(-err));
	}
	redirect_refuse(redirection, "source %s: %s takes no XDP program%s: %s",
			source->name, name,
			source->attach == ATTACH_DRIVER ? " in driver mode" :
							  "",
			strerror(-err));
	return err;
}

/* ------------------------------------------------------------ the interface */

/* For as long as the socket is there. */
static int be_promiscuous(const struct config_source *source, unsigned ifindex)
{
	struct packet_mreq request = {
		.mr_ifindex = (int)ifindex,
		.mr_type = PACKET_MR_PROMISC,
	};
	int fd;

	if (!source->promiscuous)
		return -1;
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd >= 0 && setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP,
				  &request, sizeof(request)))
		log_warn("source %s: no promiscuous mode: %s", source->name,
			 strerror(errno));
	return fd;
}

static void start_clock(const struct config_source *source, const char *name)
{
	int err = source->clock == CLOCK_HARDWARE ? offload_stamp(name) : 0;

	if (err)
		log_warn("source %s: %s has no hardware time stamps (%s): the "
			 "kernel stamps",
			 source->name, name, strerror(-err));
}

void redirect_set_mac(struct redirection *redirection, const uint8_t mac[6])
{
	uint64_t word = 0;

	if (!redirection->program)
		return;
	for (int i = 0; i < 6; i++)
		word = word << 8 | mac[i];
	redirection->program->bss->own_mac = word;
}

bool redirect_is_on(const struct redirection *redirection, unsigned ifindex)
{
	struct bpf_link_info info = { 0 };
	uint32_t length = sizeof(info);

	/* The link of an interface that is gone has none. */
	return redirection->program &&
	       bpf_obj_get_info_by_fd(redirection->link, &info, &length) == 0 &&
	       info.xdp.ifindex == ifindex;
}

int redirect_attach(struct redirection *redirection,
		    const struct config_source *source, const char *name,
		    const struct host_interface *host)
{
	uint32_t foreign;
	int err;

	if (redirect_is_on(redirection, host->index)) {
		redirect_set_mac(redirection, host->mac);
		return 0;
	}
	redirect_detach(redirection);
	libbpf_set_print(print_debug);
	foreign = foreign_program(host->index);
	if (foreign)
		return refuse_foreign(redirection, source, name, foreign);
	if (source->offloads_off)
		offload_off(name);
	err = try_all(redirection, source, name, host->index);
	if (err)
		return err;
	redirect_set_mac(redirection, host->mac);
	start_clock(source, name);
	redirection->promiscuous = be_promiscuous(source, host->index);
	return 0;
}

void redirect_detach(struct redirection *redirection)
{
	if (!redirection->program)
		return;
	close(redirection->link);
	redirect__destroy(redirection->program);
	if (redirection->promiscuous >= 0)
		close(redirection->promiscuous);
	redirection->program = NULL;
	redirection->link = redirection->promiscuous = -1;
}

int redirect_queue(struct redirection *redirection, uint32_t queue, int socket)
{
	int map, err;

	if (!redirection->program)
		return -ENODEV;
	map = bpf_map__fd(redirection->program->maps.sockets);
	if (socket >= 0)
		return bpf_map_update_elem(map, &queue, &socket, BPF_ANY);
	err = bpf_map_delete_elem(map, &queue);
	return err == -ENOENT ? 0 : err;
}

uint64_t redirect_passed(const struct redirection *redirection, uint32_t queue)
{
	struct redirect_passed passed = { 0 };

	if (redirection->program)
		(void)bpf_map_lookup_elem(
			bpf_map__fd(redirection->program->maps.passed), &queue,
			&passed);
	return passed.packets;
}

/*
 * A grace period of the kernel's: the program runs as a reader of RCU. Where
 * the kernel does not offer that call (nohz_full), a while.
 */
void redirect_settle(void)
{
	const struct timespec pause = { .tv_nsec = 50000000 };

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		nanosleep(&pause, NULL);
}

void redirect_look(struct redirection *redirection, const char *name)
{
	const struct redirect *program = redirection->program;

	if (program && program->bss->tags_are_hidden)
		warn_of_tags(redirection, name);
	if (program && program->bss->too_large)
		warn_of_large(redirection, name, program->bss->too_large);
	if (program && program->bss->undescribed)
		warn_of_front(redirection, name);
}
