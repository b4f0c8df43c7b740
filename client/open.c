/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a capture begins and ends: one connection, one question, and what the
 * answer brings, all of it the capture's, so that any failure is one free.
 */
#include "capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEASES_DEFAULT 64

struct nr_capture *capture_new(void)
{
	struct nr_capture *capture = calloc(1, sizeof(*capture));

	if (capture) {
		capture->socket = -1;
		capture->break_fd = -1;
		capture->return_fd = -1;
		capture->carried.counts_shown = 1;
	}
	return capture;
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void lane_deinit(struct lane *lane)
{
	if (lane->arena)
		munmap((void *)(uintptr_t)lane->arena, lane->arena_size);
	if (lane->region && lane->region != lane->arena)
		munmap((void *)(uintptr_t)lane->region, lane->region_size);
	if (lane->ring_map)
		munmap(lane->ring_map, lane->ring_map_size);
	fd_close(lane->arena_fd);
	fd_close(lane->ring_fd);
	fd_close(lane->region_fd);
}

void lanes_free(struct lane *lanes, unsigned count, void *return_map,
		int return_fd)
{
	unsigned i;

	for (i = 0; lanes && i < count; i++)
		lane_deinit(&lanes[i]);
	if (return_map)
		munmap(return_map, (size_t)count * NR_PAGE);
	fd_close(return_fd);
	free(lanes);
}

/*
 * Nothing is written to the return pages: the broker takes back what we hold
 * when the last process that has the connection hangs up, and after an export
 * that is not us.
 */
void capture_free(struct nr_capture *capture)
{
	if (!capture)
		return;
	move_free(capture);
	lanes_free(capture->lanes, capture->lane_count, capture->return_map,
		   capture->return_fd);
	fd_close(capture->break_fd);
	fd_close(capture->socket);
	free(capture->path);
	free(capture);
}

void nr_capture_close(struct nr_capture *capture)
{
	capture_free(capture);
}

const char *nr_capture_channel(const struct nr_capture *capture)
{
	return capture->channel;
}

unsigned nr_capture_lanes(const struct nr_capture *capture)
{
	return capture->lane_count;
}

int nr_capture_fd(const struct nr_capture *capture)
{
	return capture->socket;
}

/*
 * The caller may be older (its structure shorter: the rest is default) or newer
 * (longer: what we do not know it must not have set).
 */
static int options_read(struct nr_open_options *options,
			const struct nr_open_options *given)
{
	size_t i;

	memset(options, 0, sizeof(*options));
	if (!given)
		return 0;
	if (given->size < sizeof(given->size))
		return -EINVAL;
	for (i = sizeof(*options); i < given->size; i++)
		if (((const unsigned char *)given)[i])
			return -EINVAL;
	memcpy(options, given,
	       given->size < sizeof(*options) ? given->size : sizeof(*options));
	if (options->leases > NR_LEASES_MAX ||
	    options->guarantee >
		    (options->leases ? options->leases : LEASES_DEFAULT))
		return -EINVAL;
	return 0;
}

static int request_init(struct nr_msg_attach *request, const char *channel,
			const struct nr_open_options *options)
{
	size_t length = channel ? strlen(channel) : 0;

	memset(request, 0, sizeof(*request));
	if (length == 0 || length >= sizeof(request->channel))
		return -EINVAL;
	wire_init(&request->msg, NR_MSG_ATTACH, sizeof(*request), 1);
	memcpy(request->channel, channel, length);
	request->lane = options->lane_plus_one ? options->lane_plus_one - 1 :
						 NR_ALL_LANES;
	request->leases = options->leases;
	request->guarantee = options->guarantee;
	request->budget = options->budget;
	request->flags = options->follow ? NR_ATTACH_FOLLOWS : 0;
	if (options->group && strlen(options->group) >= sizeof(request->group))
		return -EINVAL;
	if (options->group)
		memcpy(request->group, options->group, strlen(options->group));
	return 0;
}

static int attach(struct nr_capture *capture, const char *path,
		  const struct nr_msg_attach *request,
		  const struct words *words)
{
	struct nr_msg ack;
	int err;

	capture->break_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (capture->break_fd < 0)
		return -errno;
	capture->socket = dial_connect(path);
	if (capture->socket < 0)
		return capture->socket;
	err = dial_ask(capture->socket, &request->msg);
	if (!err)
		err = attach_receive(capture, words);
	if (err)
		return err;
	memcpy(capture->channel, request->channel, sizeof(capture->channel));
	capture->follows = request->flags & NR_ATTACH_FOLLOWS;
	wire_init(&ack, NR_MSG_ACK, sizeof(ack), request->msg.id);
	return dial_ask(capture->socket, &ack);
}

/* @was_answered: the broker had this one in hand already. */
static int attach_once(struct nr_capture **capture, const char *path,
		       const struct nr_msg_attach *request,
		       const struct words *words, bool *was_answered)
{
	struct nr_capture *new = capture_new();
	int err;

	if (!new)
		return -ENOMEM;
	err = attach(new, path, request, words);
	*was_answered = new->return_fd >= 0;
	if (err)
		capture_free(new);
	else
		*capture = new;
	return err;
}

int capture_attach(struct nr_capture **capture, const char *path,
		   const struct nr_msg_attach *request,
		   const struct words *words)
{
	bool was_answered = false;
	int err = attach_once(capture, path, request, words, &was_answered);

	if (dial_again(err) && !was_answered)
		err = attach_once(capture, path, request, words, &was_answered);
	return err;
}

/* For nr_capture_reattach(). */
static int remember(struct nr_capture *capture,
		    const struct nr_open_options *options,
		    const struct nr_msg_attach *request)
{
	capture->request = *request;
	capture->reattach_ms = options->reattach_ms;
	if (!options->socket)
		return 0;
	capture->path = strdup(options->socket);
	return capture->path ? 0 : -ENOMEM;
}

static int open_patiently(struct nr_capture **capture,
			  const struct nr_open_options *options,
			  const struct nr_msg_attach *request)
{
	const struct words words = { options->error_text,
				     options->error_text_size };
	struct patience patience = patience_start(options->wait_ms);
	int err;

	do {
		if (words.text && words.size)
			words.text[0] = '\0';
		err = capture_attach(capture, options->socket, request, &words);
	} while ((err == -ECONNREFUSED || err == -ENOENT || dial_again(err)) &&
		 patience_wait(&patience, -1));
	return err;
}

int nr_capture_open(const char *channel, const struct nr_open_options *given,
		    struct nr_capture **capture)
{
	struct nr_open_options options;
	struct nr_msg_attach request;
	struct nr_capture *new;
	int err = options_read(&options, given);

	if (!err)
		err = request_init(&request, channel, &options);
	if (err || !capture)
		return -EINVAL;
	err = open_patiently(&new, &options, &request);
	if (err)
		return err;
	err = remember(new, &options, &request);
	if (err)
		capture_free(new);
	else
		*capture = new;
	return err;
}
