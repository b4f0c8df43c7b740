/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the engine holds: rights, none; descriptors, none that sends a frame,
 * whoever tries it. Tried from outside, with all rights, on copies of them.
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <linux/kcmp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"
#include "live.h"
#include "priv.h"
#include "trace.h"

TestSuite(descriptors, .timeout = 120);

static struct live live;

static uint64_t frames_out_of(const char *interface)
{
	static struct command count;

	cr_assert_eq(command_run(&count,
				 "sed -n 's/^ *%s: *//p' /proc/net/dev |"
				 "awk '{ print $10 }'",
				 interface),
		     0);
	return strtoull(count.out, NULL, 10);
}

static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

/* Whatever can be tried with it, by somebody who has all rights. */
static void try_frame(int fd)
{
	static uint8_t frame[64] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8 };
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex("inside"),
	};

	cr_expect_lt(send(fd, frame, sizeof(frame), MSG_DONTWAIT), 0);
	cr_expect_lt(sendto(fd, frame, sizeof(frame), MSG_DONTWAIT,
			    (struct sockaddr *)&address, sizeof(address)),
		     0);
	cr_expect_lt(write(fd, frame, sizeof(frame)), 0);
}

/* Bound without a ring for it, it sends nothing, and never will. */
static void try_xdp(int fd)
{
	const uint32_t slots = 64;
	const struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = if_nametoindex("inside"),
	};

	try_frame(fd);
	cr_expect(sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 &&
		  errno == ENOBUFS);
	cr_expect(setsockopt(fd, SOL_XDP, XDP_TX_RING, &slots, sizeof(slots)) &&
		  errno == EBUSY);
	cr_expect(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		       XDP_PGOFF_TX_RING) == MAP_FAILED);
	cr_expect(bind(fd, (const struct sockaddr *)&address, sizeof(address)));
}

/* It is told of links; who opened it may not change them, and nobody by it. */
static void try_netlink(int fd)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} down = {
		.header = { .nlmsg_len = sizeof(down),
			    .nlmsg_type = RTM_NEWLINK,
			    .nlmsg_flags = NLM_F_REQUEST },
		.link = { .ifi_index = (int)if_nametoindex("inside"),
			  .ifi_change = IFF_UP },
	};
	static struct command look;

	(void)send(fd, &down, sizeof(down), MSG_DONTWAIT);
	cr_assert_eq(command_run(&look, "ip link show inside"), 0);
	cr_expect(strstr(look.out, ",UP,"), "%s", look.out);
}

/* What kinds of descriptor there may be; returns whether this was AF_XDP. */
static bool check_fd(pid_t engine, int pidfd, int number)
{
	static const char *const files[] = {
		"anon_inode:[eventfd]",
		"anon_inode:[eventpoll]",
		"anon_inode:[signalfd]",
		"anon_inode:bpf-map",
		"/memfd:netring-",
		"/proc/",
		"/dev/null",
	};
	char path[64], name[256];
	ssize_t length;
	int fd, domain;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", engine, number);
	length = readlink(path, name, sizeof(name) - 1);
	if (length < 0)
		return false; /* closed meanwhile */
	name[length] = '\0';
	if (strncmp(name, "socket:", 7) != 0) {
		bool is_known = strcmp(name, live.broker.log) == 0 ||
				strcmp(name, test_path("trace.pcap")) == 0;

		for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
			is_known |=
				strncmp(name, files[i], strlen(files[i])) == 0;
		cr_expect(is_known, "descriptor %d is %s", number, name);
		return false;
	}
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	cr_assert(fd >= 0, "%s", strerror(errno));
	domain = option_of(fd, SO_DOMAIN);
	cr_expect(domain == AF_UNIX || domain == AF_NETLINK || domain == AF_XDP,
		  "descriptor %d is a socket of family %d", number, domain);
	if (domain == AF_XDP)
		try_xdp(fd);
	else if (domain == AF_NETLINK)
		try_netlink(fd);
	else if (domain != AF_UNIX)
		try_frame(fd);
	close(fd);
	return domain == AF_XDP;
}

static unsigned check_fds(pid_t engine)
{
	int pidfd = (int)syscall(SYS_pidfd_open, engine, 0);
	unsigned xdp = 0;

	cr_assert(pidfd >= 0);
	for (int number = 0; number < 256; number++)
		xdp += check_fd(engine, pidfd, number);
	close(pidfd);
	return xdp;
}

/* The thread that maps rings has a table of its own, with nothing in it. */
static void check_mapper(pid_t engine, pid_t thread)
{
	char path[96], name[256];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd", engine, thread);
	dir = opendir(path);
	cr_assert(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		int number = atoi(entry->d_name);

		if (entry->d_name[0] != '.')
			cr_expect(number <= STDERR_FILENO ||
					  number == PRIV_FD_RINGS,
				  "the mapper has descriptor %d", number);
	}
	closedir(dir);
	/* The socket on which rings come is nobody else's in the engine. */
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", engine, PRIV_FD_RINGS);
	name[0] = '\0';
	(void)!readlink(path, name, sizeof(name) - 1);
	cr_expect(strncmp(name, "socket:", 7) != 0, "%s", path);
}

/* Each thread has a filter; all but the one that maps rings have the same. */
static void check_threads(pid_t engine)
{
	unsigned mappers = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", engine);
	dir = opendir(path);
	cr_assert(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		pid_t thread = atoi(entry->d_name);

		if (thread == 0)
			continue;
		cr_expect_eq(process_status(thread, "Seccomp:", 10), 2);
		cr_expect_eq(process_status(thread, "CapEff:", 16), 0);
		if (syscall(SYS_kcmp, engine, thread, KCMP_FILES, 0, 0) == 0)
			continue;
		mappers++;
		check_mapper(engine, thread);
	}
	closedir(dir);
	cr_expect_eq(mappers, 1);
}

static void check_rights(pid_t engine)
{
	check_threads(engine);
	cr_expect_eq(process_status(engine, "CapInh:", 16), 0);
	cr_expect_eq(process_status(engine, "CapPrm:", 16), 0);
	cr_expect_eq(process_status(engine, "CapEff:", 16), 0);
	cr_expect_eq(process_status(engine, "CapAmb:", 16), 0);
	cr_expect_eq(process_status(engine, "NoNewPrivs:", 10), 1);
	cr_expect_eq(process_status(engine, "Seccomp:", 10), 2);
	cr_expect_neq(process_status(engine, "Uid:", 10), 0);
	cr_expect_neq(process_status(engine, "Gid:", 10), 0);
}

static void check_engine_of(const char *source, unsigned xdp_sockets)
{
	struct trace trace;
	struct nr_capture *capture;
	struct nr_batch batch;
	uint64_t frames;
	pid_t engine;

	live_network(&live);
	trace_init(&trace, 1000, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	live_broker(&live, "[source s]\n%s[channel c]\nsource = s\n", source);
	cr_assert_eq(nr_capture_open("c", NULL, &capture), 0);
	if (strstr(source, "inside"))
		cr_assert_eq(traffic_send_like(live.traffic,
					       &(struct traffic_frame){ 0 }, 10,
					       0),
			     0);
	cr_assert_eq(nr_capture_recv(capture, &batch, 10000), 1);
	engine = broker_engine(&live.broker);
	frames = frames_out_of("inside");
	cr_expect_eq(check_fds(engine), xdp_sockets);
	check_rights(engine);
	cr_expect_eq(frames_out_of("inside"), frames);
	nr_batch_release(&batch);
	nr_capture_close(capture);
	live_stop(&live);
}

Test(descriptors, of_af_packet_do_not_send)
{
	check_engine_of("interface = inside\nring_size = 4M\n", 0);
}

Test(descriptors, of_af_xdp_do_not_send)
{
	check_engine_of("interface = inside\nbackend = xdp\n"
			"small_pages = yes\n",
			1);
}

Test(descriptors, of_a_replay_do_not_send)
{
	char source[256];

	snprintf(source, sizeof(source), "backend = replay\nfile = %s\n",
		 test_path("trace.pcap"));
	check_engine_of(source, 0);
}

/* How many descriptors of a process are of this file, by its name. */
static unsigned fds_of(pid_t pid, const char *file)
{
	unsigned count = 0;
	char path[300], name[256];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	cr_assert(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid,
			 entry->d_name);
		length = readlink(path, name, sizeof(name) - 1);
		name[length > 0 ? length : 0] = '\0';
		count += strcmp(name, file) == 0;
	}
	closedir(dir);
	return count;
}

/* A supervisor's secrets, and its sockets, which it forgot to close. */
Test(descriptors, of_who_starts_the_broker_are_not_passed_on)
{
	static struct command c, list;
	struct broker broker = { 0 };
	const char *secret = test_path("secret"), *in = test_path("in");
	const char *socket = test_path("broker.sock");
	struct trace trace;

	trace_init(&trace, 10, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	command_start(&c, geteuid(),
		      "exec 3<>%s 4</etc/shadow 5<>%s 9<>%s <>%s >&0; "
		      "exec netringd -r %s --socket %s",
		      secret, secret, secret, in, test_path("trace.pcap"),
		      socket);
	eventually(command_run(&list, "netring --socket %s list", socket) == 0);
	broker.pid = c.pid;
	cr_assert_eq(fds_of(c.pid, in), 2);
	cr_assert_eq(fds_of(c.pid, secret), 0);
	cr_assert_eq(fds_of(c.pid, "/etc/shadow"), 0);
	cr_assert_eq(fds_of(broker_engine(&broker), in), 0);
	cr_assert_eq(fds_of(broker_engine(&broker), secret), 0);
	cr_assert_eq(fds_of(broker_engine(&broker), "/dev/null"), 2);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
}

/* What is made has no number of the first three, to which people write. */
Test(descriptors, that_are_missing_are_no_socket_of_the_broker)
{
	static struct command c, list;
	const char *socket = test_path("broker.sock");
	struct trace trace;

	trace_init(&trace, 10, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	command_start(&c, geteuid(),
		      "exec netringd -r %s --socket %s <&- >&- 2>&-",
		      test_path("trace.pcap"), socket);
	eventually(command_run(&list, "netring --socket %s list", socket) == 0);
	cr_assert_eq(fds_of(c.pid, "/dev/null"), 3);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
}
