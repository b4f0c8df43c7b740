/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two compilations of one language. A channel's filter runs in the lane, over
 * bytes that have their VLAN tag back. A source's runs in the kernel, where the
 * outer tag is beside the bytes: libpcap writes code for that only for a live
 * handle, so one is opened where nothing can be captured, on the loopback of
 * an empty network namespace.
 */
#include "filter.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcap/pcap.h>

#define FILTER_SNAPLEN 262144 /* libpcap's own "whole packets" */
#define FILTER_ERROR_MAX 256

struct filter {
	struct bpf_program program;
};

/* On lo of an empty namespace; lives until the process ends. */
static pcap_t *live_handle;

static int compile(pcap_t *handle, struct bpf_program *program,
		   const char *text, char *error)
{
	if (pcap_compile(handle, program, text, 1, PCAP_NETMASK_UNKNOWN) == 0)
		return 0;
	snprintf(error, FILTER_ERROR_MAX, "%s", pcap_geterr(handle));
	return -EINVAL;
}

/* Compiles without a device. */
/* Files and records have LINKTYPE_ numbers; libpcap's differ for raw IP. */
static int dlt_of(int link_type)
{
	return link_type == 101 ? DLT_RAW : link_type;
}

static int compile_dead(int link_type, struct bpf_program *program,
			const char *text, char *error)
{
	pcap_t *handle = pcap_open_dead(dlt_of(link_type), FILTER_SNAPLEN);
	int err;

	if (!handle) {
		snprintf(error, FILTER_ERROR_MAX, "out of memory");
		return -EINVAL;
	}
	err = compile(handle, program, text, error);
	pcap_close(handle);
	return err;
}

static bool is_blank(const char *text)
{
	return text[strspn(text, " \t\r\n")] == '\0';
}

int filter_new(struct filter **filter, const char *text, int link_type,
	       char *error)
{
	struct filter *new;

	*filter = NULL;
	if (is_blank(text))
		return 0;
	new = calloc(1, sizeof(*new));
	if (!new) {
		snprintf(error, FILTER_ERROR_MAX, "out of memory");
		return -EINVAL;
	}
	if (compile_dead(link_type, &new->program, text, error) < 0) {
		free(new);
		return -EINVAL;
	}
	*filter = new;
	return 0;
}

void filter_free(struct filter *filter)
{
	if (!filter)
		return;
	pcap_freecode(&filter->program);
	free(filter);
}

bool filter_passes(const struct filter *filter, const uint8_t *data,
		   uint32_t caplen, uint32_t wirelen)
{
	if (!filter)
		return true;
	return bpf_filter(filter->program.bf_insns, data, wirelen, caplen) != 0;
}

/* Whether the keyword stands in @text, not merely inside another word. */
static bool mentions_vlan(const char *text)
{
	static const char word_chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789_.-";

	while (*text) {
		size_t length = strspn(text, word_chars);

		if (length == 4 && strncmp(text, "vlan", 4) == 0)
			return true;
		text += length ? length : 1;
	}
	return false;
}

static int compile_for_kernel(struct bpf_program *program, const char *text,
			      char *error)
{
	if (live_handle)
		return compile(live_handle, program, text, error);
	if (mentions_vlan(text)) {
		snprintf(error, FILTER_ERROR_MAX,
			 "vlan in a filter for the kernel needs CAP_SYS_ADMIN "
			 "and CAP_NET_ADMIN to compile; "
			 "use it in the filter of a channel instead");
		return -EINVAL;
	}
	return compile_dead(DLT_EN10MB, program, text, error);
}

/*
 * In the kernel, what a filter returns is the snap length. libpcap's
 * instructions are the kernel's, but for the names of the fields.
 */
static void copy_program(struct sock_filter *out,
			 const struct bpf_program *program, uint32_t accept)
{
	for (u_int i = 0; i < program->bf_len; i++) {
		const struct bpf_insn *insn = &program->bf_insns[i];

		out[i] = (struct sock_filter){
			.code = insn->code,
			.jt = insn->jt,
			.jf = insn->jf,
			.k = insn->k,
		};
		if (insn->code == (BPF_RET | BPF_K) && insn->k)
			out[i].k = accept;
	}
}

int filter_compile_kernel(const char *text, uint32_t snaplen,
			  struct sock_filter *program, uint32_t max,
			  char *error)
{
	uint32_t accept = snaplen ? snaplen : FILTER_SNAPLEN;
	struct bpf_program compiled;
	int length;

	if (is_blank(text) && !snaplen)
		return 0;
	if (compile_for_kernel(&compiled, text, error) < 0)
		return -EINVAL;
	if (compiled.bf_len <= max) {
		copy_program(program, &compiled, accept);
		length = (int)compiled.bf_len;
	} else {
		snprintf(error, FILTER_ERROR_MAX,
			 "makes %u instructions, the kernel takes %u",
			 compiled.bf_len, max);
		length = -EINVAL;
	}
	pcap_freecode(&compiled);
	return length;
}

/* pcap_activate() wants the interface up. */
static int loopback_up(void)
{
	struct ifreq request = { .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, "lo", 3);
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		err = -errno;
	close(fd);
	return err;
}

int filter_prepare_kernel(void)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *handle;
	int err;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	err = loopback_up();
	if (err < 0)
		return err;
	handle = pcap_create("lo", error);
	if (!handle)
		return -ENOMEM;
	pcap_set_snaplen(handle, FILTER_SNAPLEN);
	/* Nothing is read from it: the smallest ring will do. */
	pcap_set_buffer_size(handle, FILTER_SNAPLEN);
	err = pcap_activate(handle);
	if (err < 0) {
		pcap_close(handle);
		return err == PCAP_ERROR_PERM_DENIED ? -EPERM : -EIO;
	}
	if (live_handle)
		pcap_close(live_handle);
	live_handle = handle;
	return 0;
}
