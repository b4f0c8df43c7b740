// SPDX-License-Identifier: BSD-2-Clause
/*
 * From one configuration to the next, in the warden: the text is read and
 * checked as at the start, and held until the engine has opened what is new in
 * it; then it is in force, or forgotten.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "warden_offload.h"
#include "warden_verbs.h"

/* Of a lane: a start, frames made anew for other readers, and some retries. */
#define UMEMS_EACH 4
/* Of a lane, beside the one that is open. */
#define RINGS_EACH 2

static uint32_t source_named(const struct config *config, const char *name)
{
	uint32_t i = 0;

	while (i < config->source_count &&
	       strcmp(config->sources[i].name, name) != 0)
		i++;
	return i;
}

void warden_close_source(struct warden *warden, uint32_t index)
{
	for (int l = 0; l < LANES_MAX; l++) {
		asroot_packet_close(&warden->sockets[index][l]);
		asroot_xdp_close(&warden->xdp_sockets[index][l]);
		warden->sockets[index][l] = (struct packet_socket){ .fd = -1 };
		warden->xdp_sockets[index][l] = (struct xdp_socket){ .fd = -1 };
	}
	for (int i = 0; i < CONFIG_INTERFACES_MAX; i++) {
		redirect_detach(&warden->redirections[index][i]);
		warden->redirections[index][i] =
			(struct redirection){ .promiscuous = -1 };
	}
}

void warden_allow_frames(struct warden *warden, const struct config *config)
{
	warden->umems_left = 0;
	for (uint32_t s = 0; s < config->source_count; s++)
		if (config->sources[s].backend == BACKEND_XDP)
			warden->umems_left +=
				UMEMS_EACH * config->sources[s].lanes *
				config->sources[s].interface_count;
	warden->umems_held = 2 * warden->umems_left;
}

void warden_allow_rings(struct warden *warden, const struct config *config)
{
	uint32_t held = 0;

	for (uint32_t s = 0; s < config->source_count; s++)
		if (config->sources[s].backend == BACKEND_PACKET)
			held += RINGS_EACH * config->sources[s].lanes *
				config->sources[s].interface_count;
	if (held > warden->rings_held)
		warden->rings_held = held;
}

/* What is open for a source gets another place, where nothing is open. */
static void move_source(struct warden *warden, uint32_t from, uint32_t to)
{
	for (int l = 0; l < LANES_MAX; l++) {
		warden->sockets[to][l] = warden->sockets[from][l];
		warden->xdp_sockets[to][l] = warden->xdp_sockets[from][l];
		warden->sockets[from][l] = (struct packet_socket){ .fd = -1 };
		warden->xdp_sockets[from][l] = (struct xdp_socket){ .fd = -1 };
	}
	for (int i = 0; i < CONFIG_INTERFACES_MAX; i++) {
		warden->redirections[to][i] = warden->redirections[from][i];
		warden->redirections[from][i] =
			(struct redirection){ .promiscuous = -1 };
	}
}

static void drop_config(const struct config *config, int fd)
{
	munmap((void *)(uintptr_t)config, sizeof(*config));
	close(fd);
}

/* Frames that nothing came of, and nobody holds, were not asked for. */
static void forget_frames(struct warden *warden)
{
	for (int s = 0; s < SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			warden->umems_left +=
				asroot_xdp_forget(&warden->xdp_sockets[s][l]);
}

void warden_abandon(struct warden *warden)
{
	forget_frames(warden);
	for (uint32_t s = 0; s < CONFIG_SOURCES_MAX; s++)
		warden_close_source(warden, PRIV_NEXT + s);
	if (!warden->next)
		return;
	drop_config(warden->next, warden->next_fd);
	warden->next = NULL;
	offload_restore_others(warden->options->config);
}

int asroot_abandon(struct warden *warden, const struct priv_request *request,
		   struct priv_reply *reply, int *fds)
{
	(void)request;
	(void)reply;
	(void)fds;
	warden_abandon(warden);
	return 0;
}

/*
 * What is open stays so with a source that is the same in both. First all of
 * those go to their places in the next configuration: the present ones are
 * taken by others still.
 */
int asroot_commit(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds)
{
	struct warden_options *options = warden->options;
	const struct config *old = options->config, *config = warden->next;

	(void)request;
	(void)reply;
	(void)fds;
	if (!config)
		warden_surprise(warden, "commit");
	for (uint32_t s = 0; s < old->source_count; s++) {
		uint32_t to = source_named(config, old->sources[s].name);

		if (to < config->source_count &&
		    config_source_is_same(&old->sources[s],
					  &config->sources[to])) {
			warden_close_source(warden, PRIV_NEXT + to);
			move_source(warden, s, PRIV_NEXT + to);
		} else {
			warden_close_source(warden, s);
		}
	}
	for (uint32_t s = 0; s < CONFIG_SOURCES_MAX; s++)
		move_source(warden, PRIV_NEXT + s, s);
	drop_config(old, options->config_fd);
	options->config = config;
	options->config_fd = warden->next_fd;
	warden->next = NULL;
	offload_restore_others(config);
	return 0;
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
	warden_abandon(warden);
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
		warden->next = config;
		warden->next_fd = config_fd;
		if (memcmp(&warden->last_read, config, sizeof(*config)) != 0) {
			memcpy(&warden->last_read, config, sizeof(*config));
			warden_allow_frames(warden, config);
			warden_allow_rings(warden, config);
		}
		close(text);
		return 1;
	}
	if (config)
		drop_config(config, config_fd);
	reply->reload.is_refused = 1;
	fds[0] = text;
	return 1;
}
