/* SPDX-License-Identifier: BSD-2-Clause */
/* Filters: of channels, over bytes; and of sources, in the kernel. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcap/dlt.h>

#include "filter.h"

/* clang-format off */
/* Ethernet, IPv4, UDP from port 1024 to port 53, four bytes. */
static const uint8_t udp4[] = {
	0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00,
	0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0,
	10, 0, 0, 1, 10, 0, 0, 2,
	0x04, 0x00, 0, 53, 0, 12, 0, 0,
	1, 2, 3, 4,
};

/* The same over IPv6. */
static const uint8_t udp6[] = {
	0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x86, 0xdd,
	0x60, 0, 0, 0, 0, 12, 17, 64,
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
	0x04, 0x00, 0, 53, 0, 12, 0, 0,
	1, 2, 3, 4,
};
/* clang-format on */

#define TAGGED_SIZE (sizeof(udp4) + 4)

/* @udp4 with a VLAN tag in its bytes. */
static void tag(uint8_t *out, uint16_t vid)
{
	memcpy(out, udp4, 12);
	out[12] = 0x81;
	out[13] = 0x00;
	out[14] = (uint8_t)(vid >> 8);
	out[15] = (uint8_t)vid;
	memcpy(out + 16, udp4 + 12, sizeof(udp4) - 12);
}

static bool passes(const char *text, const void *data, size_t caplen)
{
	struct filter *filter;
	char error[256];
	/* So that AddressSanitizer sees a read beyond it. */
	uint8_t *copy = malloc(caplen ? caplen : 1);
	bool yes;

	cr_assert(eq(int, filter_new(&filter, text, DLT_EN10MB, error), 0),
		  "%s", error);
	cr_assert(filter != NULL);
	memcpy(copy, data, caplen);
	yes = filter_passes(filter, copy, (uint32_t)caplen, 1000);
	filter_free(filter);
	free(copy);
	return yes;
}

#define PASSES(text, data) cr_expect(passes(text, data, sizeof(data)), text)
#define STAYS(text, data) cr_expect(not(passes(text, data, sizeof(data))), text)

Test(filter, lets_through_what_it_says_of_ipv4)
{
	PASSES("udp port 53", udp4);
	PASSES("src host 10.0.0.1 and dst net 10.0.0.0/30", udp4);
	STAYS("tcp", udp4);
	STAYS("src port 53", udp4);
	STAYS("ip6", udp4);
	PASSES("greater 900", udp4); /* by the length on the wire */
}

Test(filter, lets_through_what_it_says_of_ipv6)
{
	PASSES("udp port 53", udp6);
	PASSES("ip6 host fe80::2", udp6);
	STAYS("ip6 host fe80::3", udp6);
	STAYS("ip", udp6);
}

Test(filter, finds_a_vlan_tag_in_the_bytes)
{
	uint8_t tagged[TAGGED_SIZE];

	tag(tagged, 100);
	PASSES("vlan", tagged);
	PASSES("vlan 100 and udp port 53", tagged);
	STAYS("vlan 200", tagged);
	STAYS("udp port 53", tagged); /* as tcpdump: the tag comes first */
	STAYS("vlan", udp4);
}

Test(filter, never_reads_beyond_what_was_captured)
{
	for (size_t caplen = 0; caplen < sizeof(udp4); caplen++) {
		/* the ports end behind byte 38 */
		cr_expect(eq(int, passes("udp dst port 53", udp4, caplen),
			     caplen >= 38));
		cr_expect(eq(int, passes("ip", udp4, caplen), caplen >= 14));
	}
}

Test(filter, goes_by_the_link_type)
{
	struct filter *filter;
	char error[256];

	cr_assert(
		eq(int, filter_new(&filter, "udp port 53", DLT_RAW, error), 0));
	cr_assert(filter_passes(filter, udp4 + 14, sizeof(udp4) - 14, 32));
	cr_assert(not(filter_passes(filter, udp4, sizeof(udp4), 46)));
	filter_free(filter);
}

Test(filter, an_empty_text_is_no_filter_and_lets_all_through)
{
	struct filter *filter = (struct filter *)(uintptr_t)1;
	char error[256];

	cr_assert(eq(int, filter_new(&filter, " \t", DLT_EN10MB, error), 0));
	cr_assert(filter == NULL);
	cr_assert(filter_passes(filter, udp4, sizeof(udp4), sizeof(udp4)));
	filter_free(filter);
}

Test(filter, says_why_it_does_not_compile)
{
	struct filter *filter;
	char error[256] = "";

	cr_assert(eq(int, filter_new(&filter, "prot 53", DLT_EN10MB, error),
		     -EINVAL));
	cr_assert(gt(sz, strlen(error), 0));
	cr_assert(filter == NULL);
	cr_assert(eq(int,
		     filter_new(&filter, "wlan type mgt", DLT_EN10MB, error),
		     -EINVAL));
	cr_assert(strstr(error, "802.11") != NULL, "%s", error);
}

/* ------------------------------------------------------------- kernel */

static struct sock_filter program[4096];

static int compile(const char *text, uint32_t snaplen, char *error)
{
	return filter_compile_kernel(text, snaplen, program, 4096, error);
}

Test(kernel_filter, returns_the_snap_length_or_nothing)
{
	char error[256];
	int length = compile("udp port 53", 96, error);
	int accepts = 0, rejects = 0;

	cr_assert(gt(int, length, 1));
	for (int i = 0; i < length; i++)
		if (program[i].code == (BPF_RET | BPF_K)) {
			accepts += program[i].k == 96;
			rejects += program[i].k == 0;
			cr_assert(program[i].k == 96 || program[i].k == 0);
		}
	cr_assert(accepts && rejects);
}

Test(kernel_filter, returns_everything_without_a_snap_length)
{
	char error[256];
	int length = compile("udp", 0, error);
	uint32_t most = 0;

	for (int i = 0; i < length; i++)
		if (program[i].code == (BPF_RET | BPF_K) && program[i].k > most)
			most = program[i].k;
	cr_assert(eq(u32, most, 262144));
}

Test(kernel_filter, an_empty_text_only_cuts)
{
	char error[256];

	cr_assert(eq(int, compile("", 128, error), 1));
	cr_assert(eq(int, program[0].code, BPF_RET | BPF_K));
	cr_assert(eq(u32, program[0].k, 128));
	cr_assert(eq(int, compile("", 0, error), 0));
}

Test(kernel_filter, must_fit)
{
	char error[256] = "";

	cr_assert(eq(int,
		     filter_compile_kernel("udp port 53", 0, program, 3, error),
		     -EINVAL));
	cr_assert(strstr(error, "the kernel takes 3") != NULL, "%s", error);
	cr_assert(eq(int, compile("prot 53", 0, error), -EINVAL));
}

Test(kernel_filter, refuses_vlan_where_it_cannot_be_compiled_right)
{
	char error[256] = "";

	cr_assert(eq(int, compile("udp or (vlan 100)", 0, error), -EINVAL));
	cr_assert(strstr(error, "CAP_NET_ADMIN") != NULL, "%s", error);
	cr_assert(eq(int, compile("vlan", 0, error), -EINVAL));
	/* not the keyword: */
	cr_assert(
		gt(int, compile("ether host 02:00:00:00:00:01", 0, error), 0));
	compile("host vlan-gw.invalid", 0, error);
	cr_assert(strstr(error, "CAP_NET_ADMIN") == NULL, "%s", error);
}

static void prepare(void)
{
	int err;

	if (geteuid() != 0)
		cr_skip_test("needs root to make network namespaces");
	err = filter_prepare_kernel();
	if (err == -EPERM)
		cr_skip_test("needs CAP_SYS_ADMIN to make network namespaces");
	cr_assert(eq(int, err, 0), "%s", strerror(-err));
}

Test(kernel_filter, is_prepared_in_a_namespace_of_its_own)
{
	struct if_nameindex *interfaces;

	prepare();
	interfaces = if_nameindex();
	cr_assert(eq(str, interfaces[0].if_name, "lo"));
	cr_assert(eq(u32, interfaces[1].if_index, 0));
	if_freenameindex(interfaces);
}

/* Which of the kernel's words beside the packet the program loads. */
static bool loads(int length, uint32_t what)
{
	for (int i = 0; i < length; i++)
		if (BPF_CLASS(program[i].code) == BPF_LD &&
		    BPF_MODE(program[i].code) == BPF_ABS &&
		    program[i].k == (uint32_t)SKF_AD_OFF + what)
			return true;
	return false;
}

Test(kernel_filter, looks_for_the_vlan_tag_beside_the_packet)
{
	char error[256];
	int length;

	prepare();
	length = compile("vlan 100", 0, error);
	cr_assert(gt(int, length, 1), "%s", error);
	cr_assert(loads(length, SKF_AD_VLAN_TAG));
	cr_assert(loads(length, SKF_AD_VLAN_TAG_PRESENT));
}

#define RUN(command) cr_assert(eq(int, system(command), 0), command)

/* A pair of interfaces in an empty namespace that ends with the process. */
static void make_veth(void)
{
	cr_assert(eq(int, unshare(CLONE_NEWNET), 0));
	RUN("ip link add nrfilt0 type veth peer name nrfilt1");
	RUN("ip link set nrfilt0 up && ip link set nrfilt1 up");
}

/* Binds behind @length instructions of the program, if any. */
static int packet_socket(const char *interface, int length)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	struct sock_fprog fprog = { (unsigned short)length, program };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int on = 1;

	cr_assert(ge(int, fd, 0));
	if (length)
		cr_assert(eq(int,
			     setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER,
					&fprog, sizeof(fprog)),
			     0));
	cr_assert(
		eq(int,
		   setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)),
		   0));
	cr_assert(eq(int,
		     bind(fd, (struct sockaddr *)&address, sizeof(address)),
		     0));
	return fd;
}

/* The next packet and what the kernel keeps beside it; its length. */
static ssize_t receive(int fd, uint8_t *data, size_t size,
		       struct tpacket_auxdata *aux)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(*aux))];
	} control;
	struct iovec iov = { data, size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	struct cmsghdr *beside;
	ssize_t length;

	cr_assert(eq(int, poll(&poll_fd, 1, 5000), 1), "nothing came");
	length = recvmsg(fd, &msg, 0);
	beside = CMSG_FIRSTHDR(&msg);
	cr_assert(beside != NULL);
	memcpy(aux, CMSG_DATA(beside), sizeof(*aux));
	return length;
}

/* Sends one packet untagged, one in VLAN 200 and one in VLAN 100. */
static void send_three(void)
{
	int fd = packet_socket("nrfilt0", 0);
	uint8_t tagged[TAGGED_SIZE];

	cr_assert(eq(int, (int)send(fd, udp4, sizeof(udp4), 0), sizeof(udp4)));
	tag(tagged, 200);
	cr_assert(eq(int, (int)send(fd, tagged, sizeof(tagged), 0),
		     sizeof(tagged)));
	tag(tagged, 100);
	cr_assert(eq(int, (int)send(fd, tagged, sizeof(tagged), 0),
		     sizeof(tagged)));
	close(fd);
}

Test(kernel_filter, takes_the_vlan_it_says_from_a_live_interface)
{
	struct tpacket_auxdata aux;
	uint8_t data[256];
	char error[256];
	int length, fd;

	prepare();
	length = compile("vlan 100 and udp port 53", 40, error);
	cr_assert(gt(int, length, 1), "%s", error);
	make_veth();
	fd = packet_socket("nrfilt1", length);
	send_three();
	/* The other two were sent before it. The tag is beside the bytes. */
	cr_assert(eq(int, (int)receive(fd, data, sizeof(data), &aux), 40));
	cr_assert(0 != (aux.tp_status & TP_STATUS_VLAN_VALID));
	cr_assert(eq(int, aux.tp_vlan_tci, 100));
	cr_assert(eq(u32, aux.tp_len, sizeof(udp4)));
	cr_assert(eq(int, memcmp(data, udp4, 40), 0));
	cr_assert(eq(int, (int)recv(fd, data, sizeof(data), MSG_DONTWAIT), -1));
	close(fd);
}

/* Even a filter without "vlan" sees a packet without its outer tag. */
Test(kernel_filter, sees_a_packet_without_its_outer_tag)
{
	struct tpacket_auxdata aux;
	uint8_t data[256];
	char error[256];
	int length, fd;

	prepare();
	length = compile("udp port 53", 0, error);
	make_veth();
	fd = packet_socket("nrfilt1", length);
	send_three();
	for (int i = 0; i < 3; i++) {
		static const int tags[] = { 0, 200, 100 };

		cr_assert(eq(int, (int)receive(fd, data, sizeof(data), &aux),
			     sizeof(udp4)));
		cr_assert(eq(int, aux.tp_vlan_tci, tags[i]));
	}
	close(fd);
}
