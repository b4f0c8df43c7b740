/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A capture that changes hands: its descriptors stay open over an exec, and a
 * line of text says which is which. Whoever reads the line believes it no more
 * than a broker's message; it goes through the same checks.
 */
#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The text: "v1:SOCKET,RETURN,BREAK" and for each lane, by return page,
 * ":LANE,ARENA,RING,MAP_OFFSET,MAP_SIZE,RING_OFFSET", and ",REGION" where the
 * packets do not lie in the arena; decimal numbers, of which SOCKET, RETURN,
 * BREAK, ARENA, RING and REGION are file descriptors. Behind all "=CHANNEL".
 */
#define SPEC_VERSION "v1"

struct spec {
	int socket;
	int return_fd;
	int break_fd;
	unsigned lane_count;
	struct lane_claim lanes[NR_LANES_MAX];
	char channel[NR_NAME_MAX];
};

__attribute__((format(printf, 3, 4))) static bool
append(char **at, const char *end, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(*at, (size_t)(end - *at), format, args);
	va_end(args);
	if (n < 0 || n >= end - *at)
		return false;
	*at += n;
	return true;
}

static bool write_spec(const struct nr_capture *capture, char *at, size_t size)
{
	const char *end = at + size;
	unsigned i;

	if (!append(&at, end, SPEC_VERSION ":%d,%d,%d", capture->socket,
		    capture->return_fd, capture->break_fd))
		return false;
	for (i = 0; i < capture->lane_count; i++) {
		const struct lane *lane = &capture->lanes[i];

		if (!append(&at, end, ":%u,%d,%d,%llu,%llu,%llu", lane->number,
			    lane->arena_fd, lane->ring_fd,
			    (unsigned long long)lane->ring_map_offset,
			    (unsigned long long)lane->ring_map_size,
			    (unsigned long long)lane->ring_offset) ||
		    (lane->region_fd >= 0 &&
		     !append(&at, end, ",%d", lane->region_fd)))
			return false;
	}
	return append(&at, end, "=%s", capture->channel);
}

/* All descriptors of a capture; returns how many. */
static unsigned list_fds(const struct spec *spec, int *fds)
{
	unsigned n = 0, i;

	fds[n++] = spec->socket;
	fds[n++] = spec->return_fd;
	fds[n++] = spec->break_fd;
	for (i = 0; i < spec->lane_count; i++) {
		fds[n++] = spec->lanes[i].arena_fd;
		fds[n++] = spec->lanes[i].ring_fd;
		if (spec->lanes[i].region_fd >= 0)
			fds[n++] = spec->lanes[i].region_fd;
	}
	return n;
}

#define SPEC_FDS_MAX (3 + 3 * NR_LANES_MAX)

static int set_cloexec(const struct spec *spec, int flag)
{
	int fds[SPEC_FDS_MAX];
	unsigned n = list_fds(spec, fds), i;

	for (i = 0; i < n; i++)
		if (fcntl(fds[i], F_SETFD, flag))
			return -errno;
	return 0;
}

int nr_capture_export(struct nr_capture *capture, char *text, size_t size)
{
	struct spec spec = { .socket = capture->socket,
			     .return_fd = capture->return_fd,
			     .break_fd = capture->break_fd,
			     .lane_count = capture->lane_count };
	unsigned i;

	for (i = 0; i < capture->lane_count; i++)
		if (capture->lanes[i].taken)
			return -EBUSY;
	if (!write_spec(capture, text, size))
		return -ENOSPC;
	for (i = 0; i < spec.lane_count; i++) {
		spec.lanes[i].arena_fd = capture->lanes[i].arena_fd;
		spec.lanes[i].ring_fd = capture->lanes[i].ring_fd;
		spec.lanes[i].region_fd = capture->lanes[i].region_fd;
	}
	return set_cloexec(&spec, 0);
}

/* One number up to @max, and behind it @stop; if that is NUL, ':' or '='. */
static bool read_number(const char **at, uint64_t max, char stop,
			uint64_t *value)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*value = strtoull(*at, &end, 10);
	if (errno || *value > max)
		return false;
	if (stop ? *end != stop : *end != ':' && *end != '=')
		return false;
	*at = end + (*end == ',');
	return true;
}

/* Numbers with commas between: @format has f for an fd, n for any other. */
static bool read_numbers(const char **at, const char *format, uint64_t *values)
{
	for (; *format; format++)
		if (!read_number(at, *format == 'f' ? INT32_MAX : INT64_MAX,
				 format[1] ? ',' : '\0', values++))
			return false;
	return true;
}

static bool read_lane(const char **at, struct spec *spec)
{
	uint64_t v[7];

	const char *start = *at;
	bool is_loaned = false;

	if (spec->lane_count == NR_LANES_MAX)
		return false;
	if (!read_numbers(at, "fffnnn", v)) {
		*at = start;
		is_loaned = true;
		if (!read_numbers(at, "fffnnnf", v))
			return false;
	}
	spec->lanes[spec->lane_count] =
		(struct lane_claim){ .lane = (uint32_t)v[0],
				     .arena_fd = (int)v[1],
				     .ring_fd = (int)v[2],
				     .return_page = spec->lane_count,
				     .ring_map_offset = v[3],
				     .ring_map_size = v[4],
				     .ring_offset = v[5],
				     .region_fd = is_loaned ? (int)v[6] : -1 };
	spec->lane_count++;
	return true;
}

/* Each is closed once, so each may be named once. */
static bool fds_differ(const struct spec *spec)
{
	int fds[SPEC_FDS_MAX];
	unsigned n = list_fds(spec, fds), i, j;

	for (i = 0; i < n; i++)
		for (j = 0; j < i; j++)
			if (fds[i] == fds[j])
				return false;
	return true;
}

static int read_spec(struct spec *spec, const char *at)
{
	static const char start[] = SPEC_VERSION ":";
	uint64_t v[3];

	memset(spec, 0, sizeof(*spec));
	if (strncmp(at, start, strlen(start)) != 0)
		return -EINVAL;
	at += strlen(start);
	if (!read_numbers(&at, "fff", v))
		return -EINVAL;
	spec->socket = (int)v[0];
	spec->return_fd = (int)v[1];
	spec->break_fd = (int)v[2];
	while (*at == ':') {
		at++;
		if (!read_lane(&at, spec))
			return -EINVAL;
	}
	if (*at++ != '=' || strlen(at) >= sizeof(spec->channel) ||
	    spec->lane_count == 0 || !fds_differ(spec))
		return -EINVAL;
	strcpy(spec->channel, at);
	return 0;
}

static int check_fds(const struct spec *spec)
{
	int fds[SPEC_FDS_MAX];
	unsigned n = list_fds(spec, fds), i;
	struct stat st;

	for (i = 0; i < n; i++)
		if (fstat(fds[i], &st))
			return -errno;
	if (fstat(spec->socket, &st))
		return -errno;
	return S_ISSOCK(st.st_mode) ? 0 : -EPROTO;
}

static int take_over(struct nr_capture *capture, const struct spec *spec)
{
	unsigned i;
	int err = check_fds(spec);

	if (err)
		return err;
	capture->socket = spec->socket;
	capture->break_fd = spec->break_fd;
	memcpy(capture->channel, spec->channel, sizeof(capture->channel));
	err = attach_return_pages(capture, spec->return_fd, spec->lane_count);
	for (i = 0; !err && i < spec->lane_count; i++)
		err = attach_lane(capture, &spec->lanes[i]);
	return err ? err : set_cloexec(spec, FD_CLOEXEC);
}

/* What we could not take over stays the caller's, open. */
static void disown_fds(struct nr_capture *capture)
{
	unsigned i;

	capture->socket = -1;
	capture->break_fd = -1;
	capture->return_fd = -1;
	for (i = 0; capture->lanes && i < capture->lane_count; i++) {
		capture->lanes[i].arena_fd = -1;
		capture->lanes[i].ring_fd = -1;
		capture->lanes[i].region_fd = -1;
	}
}

int nr_capture_open_inherited(const char *text, struct nr_capture **capture)
{
	struct nr_capture *new;
	struct spec spec;
	int err;

	if (!text)
		text = secure_getenv(NR_CAPTURE_ENV);
	if (!text)
		return -ENOENT;
	err = read_spec(&spec, text);
	if (err || !capture)
		return -EINVAL;
	new = capture_new();
	if (!new)
		return -ENOMEM;
	err = take_over(new, &spec);
	if (err) {
		disown_fds(new);
		capture_free(new);
		return err;
	}
	*capture = new;
	return 0;
}
