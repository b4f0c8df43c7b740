// SPDX-License-Identifier: BSD-2-Clause
/*
 * From one configuration to the next, in the warden: the text is read and
 * checked as at the start, and what is open goes along with its source.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "warden_verbs.h"

static uint32_t source_named(const struct config *config, const char *name)
{
	uint32_t i = 0;

	while (i < config->source_count &&
	       strcmp(config->sources[i].name, name) != 0)
		i++;
	return i;
}

static bool has_same_lanes(const struct config_source *a,
			   const struct config_source *b)
{
	return a->backend == b->backend && a->lanes == b->lanes &&
	       a->interface_count == b->interface_count &&
	       memcmp(a->interfaces, b->interfaces, sizeof(a->interfaces)) == 0;
}

/* The same for AF_XDP: another lane, or another program, is another source. */
static void move_xdp(struct warden *warden, const struct config *config)
{
	static struct xdp_socket sockets[CONFIG_SOURCES_MAX][LANES_MAX];
	static struct redirection programs[CONFIG_SOURCES_MAX]
					  [CONFIG_INTERFACES_MAX];
	const struct config *old = warden->options->config;

	for (int s = 0; s < CONFIG_SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			sockets[s][l] = (struct xdp_socket){ .fd = -1 };
	memset(programs, 0, sizeof(programs));
	for (uint32_t s = 0; s < old->source_count; s++) {
		uint32_t to = source_named(config, old->sources[s].name);
		bool stays = to < config->source_count &&
			     config_source_is_same(&old->sources[s],
						   &config->sources[to]);

		for (int l = 0; l < LANES_MAX; l++)
			if (stays)
				sockets[to][l] = warden->xdp_sockets[s][l];
			else
				asroot_xdp_close(&warden->xdp_sockets[s][l]);
		for (int i = 0; i < CONFIG_INTERFACES_MAX; i++)
			if (stays)
				programs[to][i] = warden->redirections[s][i];
			else
				redirect_detach(&warden->redirections[s][i]);
	}
	memcpy(warden->xdp_sockets, sockets, sizeof(sockets));
	memcpy(warden->redirections, programs, sizeof(programs));
}

/* Sockets go with the names of their sources, to the new places of these. */
static void move_sockets(struct warden *warden, const struct config *config)
{
	static struct packet_socket moved[CONFIG_SOURCES_MAX][LANES_MAX];
	const struct config *old = warden->options->config;

	for (int s = 0; s < CONFIG_SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			moved[s][l].fd = -1;
	for (uint32_t s = 0; s < old->source_count; s++) {
		uint32_t to = source_named(config, old->sources[s].name);
		bool stays =
			to < config->source_count &&
			has_same_lanes(&old->sources[s], &config->sources[to]);

		for (int l = 0; l < LANES_MAX; l++)
			if (stays)
				moved[to][l] = warden->sockets[s][l];
			else
				asroot_packet_close(&warden->sockets[s][l]);
	}
	memcpy(warden->sockets, moved, sizeof(moved));
}

static void adopt(struct warden *warden, const struct config *config, int fd)
{
	struct warden_options *options = warden->options;

	move_sockets(warden, config);
	move_xdp(warden, config);
	munmap((void *)(uintptr_t)options->config, sizeof(*config));
	close(options->config_fd);
	options->config = config;
	options->config_fd = fd;
}

/* What cannot change while the broker runs. */
static int check_fixed(const struct config *old, const struct config *new,
		       const char *name)
{
	if (strcmp(old->socket, new->socket) == 0 &&
	    strcmp(old->user, new->user) == 0)
		return 0;
	fprintf(stderr,
		"%s: socket and user cannot change while the broker "
		"runs: leave them, or start it again\n",
		name);
	return 1;
}

int asroot_reload(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds)
{
	const struct start_options *start = warden->options->start;
	const struct config *config;
	int text, saved, config_fd = -1;
	bool is_good;

	(void)request;
	if (!start->config_file)
		return -EOPNOTSUPP;
	text = memfd_create("netring-messages", MFD_CLOEXEC);
	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 16);
	if (text < 0 || saved < 0) {
		int err = errno;

		close(text);
		close(saved);
		return -err;
	}
	/* What there is to say goes to the asker, who logs it. */
	dup2(text, STDERR_FILENO);
	config = start_config(start, &config_fd);
	is_good = config && !start_check(config, start->config_file) &&
		  !check_fixed(warden->options->config, config,
			       start->config_file);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	if (is_good) {
		/* The engine has to have what the warden goes by, or neither.
		 */
		fds[0] = fcntl(config_fd, F_DUPFD_CLOEXEC, 0);
		is_good = fds[0] >= 0;
	}
	if (is_good) {
		adopt(warden, config, config_fd);
		close(text);
		return 1;
	}
	if (config) {
		munmap((void *)(uintptr_t)config, sizeof(*config));
		close(config_fd);
	}
	reply->reload.is_refused = 1;
	fds[0] = text;
	return 1;
}
