/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Questions that need no capture: one connection each, answers until DONE.
 * What the caller's function gets is as long as its structure, and its strings
 * end.
 */
#include "capture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct string {
	size_t offset;
	size_t size;
};

#define STRING(type, field)                                                    \
	{                                                                      \
		offsetof(type, field), sizeof(((type *)0)->field)              \
	}

static const struct shape {
	uint32_t type;
	size_t size;
	struct string strings[4];
} shapes[] = {
	{ NR_MSG_CHANNEL,
	  sizeof(struct nr_msg_channel),
	  { STRING(struct nr_msg_channel, channel),
	    STRING(struct nr_msg_channel, source),
	    STRING(struct nr_msg_channel, backend),
	    STRING(struct nr_msg_channel, filter) } },
	{ NR_MSG_BROKER, sizeof(struct nr_msg_broker), { { 0, 0 } } },
	{ NR_MSG_SOURCE,
	  sizeof(struct nr_msg_source),
	  { STRING(struct nr_msg_source, source),
	    STRING(struct nr_msg_source, backend),
	    STRING(struct nr_msg_source, interface) } },
	{ NR_MSG_CHANNEL_LANE,
	  sizeof(struct nr_msg_channel_lane),
	  { STRING(struct nr_msg_channel_lane, channel) } },
	{ NR_MSG_CAPTURE,
	  sizeof(struct nr_msg_capture),
	  { STRING(struct nr_msg_capture, channel),
	    STRING(struct nr_msg_capture, comm),
	    STRING(struct nr_msg_capture, group) } },
};

/* A kind that a newer minor version has added is passed over. */
static int hand_over(struct wire_msg *answer, nr_query_fn fn, void *data)
{
	const struct shape *shape = shapes;
	const struct shape *end = shapes + sizeof(shapes) / sizeof(shapes[0]);
	size_t i;

	while (shape < end && shape->type != answer->msg.type)
		shape++;
	if (shape == end)
		return 0;
	if (answer->length < shape->size)
		return -EPROTO;
	for (i = 0; i < 4 && shape->strings[i].size; i++)
		answer->bytes[shape->strings[i].offset +
			      shape->strings[i].size - 1] = 0;
	return fn(&answer->msg, data);
}

static int ignore(const struct nr_msg *msg, void *data)
{
	(void)msg;
	(void)data;
	return 0;
}

/* @is_told: something has been handed over, and cannot be taken back. */
static int query_once(const char *socket, const struct nr_msg *question,
		      nr_query_fn fn, void *data, const struct words *words,
		      bool *is_told)
{
	struct wire_msg answer;
	int fd, err;

	fd = dial_connect(socket);
	if (fd < 0)
		return fd;
	err = dial_ask(fd, question);
	while (!err) {
		err = dial_answer(fd, &answer, words);
		if (err)
			break;
		wire_close_fds(&answer);
		if (answer.msg.type == NR_MSG_DONE)
			break;
		*is_told = true;
		err = hand_over(&answer, fn, data);
	}
	close(fd);
	return err;
}

static int query(const char *socket, const struct nr_msg *question,
		 nr_query_fn fn, void *data, const struct words *words)
{
	bool is_told = false;
	int err;

	if (!fn)
		return -EINVAL;
	err = query_once(socket, question, fn, data, words, &is_told);
	if (dial_again(err) && !is_told)
		err = query_once(socket, question, fn, data, words, &is_told);
	return err;
}

int nr_broker_list(const char *socket, nr_query_fn fn, void *data)
{
	struct nr_msg msg;

	wire_init(&msg, NR_MSG_LIST, sizeof(msg), 1);
	return query(socket, &msg, fn, data, NULL);
}

int nr_broker_stat(const char *socket, const char *channel, nr_query_fn fn,
		   void *data, char *error_text, size_t error_text_size)
{
	const struct words words = { error_text, error_text_size };
	struct nr_msg_stat stat = { .channel = "" };

	if (error_text && error_text_size)
		error_text[0] = '\0';
	if (channel) {
		size_t length = strlen(channel);

		if (length == 0 || length >= sizeof(stat.channel))
			return -EINVAL;
		memcpy(stat.channel, channel, length);
	}
	wire_init(&stat.msg, NR_MSG_STAT, sizeof(stat), 1);
	return query(socket, &stat.msg, fn, data, &words);
}

int nr_broker_reload(const char *socket, char *error_text,
		     size_t error_text_size)
{
	const struct words words = { error_text, error_text_size };
	struct nr_msg msg;

	if (error_text && error_text_size)
		error_text[0] = '\0';
	wire_init(&msg, NR_MSG_RELOAD, sizeof(msg), 1);
	return query(socket, &msg, ignore, NULL, &words);
}
