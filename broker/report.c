// SPDX-License-Identifier: BSD-2-Clause
/*
 * The answers to LIST and STAT. The numbers are the lanes', who fill in a
 * form that is laid out here; a peer sees what it may attach to, and nothing
 * else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "move.h"
#include "session.h"

static void copy_name(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

static bool is_visible(const struct session *session,
		       const struct control_channel *channel)
{
	const struct control *control = session->control;
	const struct control_channel *next = move_next(control, channel);

	/* Until captures have moved, they are in the old one: that is shown. */
	if (!next && (channel->is_retired || move_concerns(control, channel)))
		return false;
	return policy_allows(control->config,
			     next ? next->config : channel->config,
			     &session->peer);
}

/* ------------------------------------------------------------------- LIST */

static bool list_channel(struct session *session,
			 const struct control_channel *channel)
{
	const struct config_source *source = channel->source->config;
	struct nr_msg_channel msg = {
		.snaplen = channel->config->snaplen,
		.lanes = channel->source->lane_count,
		.captures = channel->capture_count,
		.link_type = lane_link_type(&channel->source->lanes[0]),
	};

	copy_name(msg.channel, sizeof(msg.channel), channel->config->name);
	copy_name(msg.source, sizeof(msg.source), source->name);
	copy_name(msg.backend, sizeof(msg.backend),
		  config_backend_name(source->backend));
	snprintf(msg.filter, sizeof(msg.filter), "%.511s",
		 channel->config->filter);
	return session_add(session, &msg.msg, NR_MSG_CHANNEL, sizeof(msg));
}

void report_list(struct session *session)
{
	struct control *control = session->control;
	const struct control_channel *channel;

	for (channel = control->channels; channel; channel = channel->next) {
		if (!is_visible(session, channel))
			continue;
		if (!list_channel(session, channel)) {
			session_refuse(session, ENOMEM,
				       "the broker has no memory left");
			return;
		}
	}
	session_send(session);
}

/* ------------------------------------------------------------------- STAT */

/* One lane's form. */
struct form {
	struct stat_command command;
	struct report *report;
	struct control_source *source;
	struct nr_msg_source msg;
	struct nr_msg_capture *captures;
};

struct report {
	struct session *session;
	char channel[NR_NAME_MAX]; /* empty: all */
	uint32_t form_count;
	uint32_t pending;
	struct form forms[];
};

static void report_free(struct report *report)
{
	struct control *control = report->session->control;

	for (uint32_t i = 0; i < report->form_count; i++) {
		free(report->forms[i].captures);
		free(report->forms[i].command.entries);
		free(report->forms[i].command.channels);
	}
	free(report);
	control->report_count--;
	control_free_removed(control);
}

static bool is_asked(const struct report *report,
		     const struct control_channel *channel)
{
	return is_visible(report->session, channel) &&
	       (!report->channel[0] ||
		strcmp(report->channel, channel->config->name) == 0);
}

/*
 * What a source captures, a peer may know that may know it of one of its
 * channels: to others it is the host's traffic.
 */
static bool shows_source(const struct report *report,
			 const struct control_source *source)
{
	const struct control_channel *channel =
		report->session->control->channels;

	for (; channel; channel = channel->next)
		if (channel->source == source && is_asked(report, channel) &&
		    policy_shows_counts(channel->config,
					&report->session->peer))
			return true;
	return false;
}

/* A packet is dropped once: fill_empty says why some of dropped were. */
static void add_xdp(struct form *form)
{
	const struct config_source *config = form->source->config;
	struct nr_msg_source *msg = &form->msg;
	const struct lane *lane = form->command.base.lane;
	struct priv_reply reply;

	msg->xdp_flags = NR_XDP | (lane->is_generic ? NR_XDP_GENERIC : 0) |
			 (lane->is_zerocopy ? NR_XDP_ZEROCOPY : 0);
	msg->ring_bytes = lane->ring_bytes;
	/* The warden ends on an index that it does not know. */
	if (form->source->is_removed ||
	    priv_xdp_stats(form->source->index, lane->number / config->lanes,
			   lane->number % config->lanes, &reply))
		return;
	msg->kernel_drops = reply.xdp_stats.dropped + reply.xdp_stats.ring_full;
	msg->drops_before = reply.xdp_stats.drops_before;
	msg->xdp_dropped = reply.xdp_stats.dropped;
	msg->xdp_ring_full = reply.xdp_stats.ring_full;
	msg->xdp_fill_empty = reply.xdp_stats.fill_empty;
	msg->xdp_invalid = reply.xdp_stats.invalid;
}

static bool add_source(const struct report *report, struct form *form)
{
	const struct config_source *config = form->source->config;
	struct nr_msg_source *msg = &form->msg;
	struct priv_reply reply;

	copy_name(msg->source, sizeof(msg->source), config->name);
	copy_name(msg->backend, sizeof(msg->backend),
		  config_backend_name(config->backend));
	snprintf(msg->interface, sizeof(msg->interface), "%.63s",
		 form->command.base.lane->interface);
	if (config->backend == BACKEND_PACKET && !form->source->is_removed &&
	    priv_packet_stats(form->source->index, msg->lane / config->lanes,
			      msg->lane % config->lanes, &reply) == 0) {
		msg->kernel_drops = reply.stats.drops;
		msg->freezes = reply.stats.freezes;
		msg->drops_before = reply.stats.drops_before;
		msg->ring_bytes = form->command.base.lane->ring_bytes;
	}
	if (config->backend == BACKEND_XDP)
		add_xdp(form);
	return session_add(report->session, &msg->msg, NR_MSG_SOURCE,
			   sizeof(*msg));
}

static bool add_channel_lane(const struct report *report,
			     struct nr_msg_channel_lane *msg)
{
	if (!msg->counts_shown) {
		msg->seen = 0;
		msg->filtered = 0;
	}
	return session_add(report->session, &msg->msg, NR_MSG_CHANNEL_LANE,
			   sizeof(*msg));
}

static bool add_capture(const struct report *report,
			const struct capture *capture,
			struct nr_msg_capture *msg)
{
	const struct session *session = capture->session;

	copy_name(msg->channel, sizeof(msg->channel),
		  capture->channel->config->name);
	memcpy(msg->comm, session->peer.comm, sizeof(msg->comm));
	msg->uid = session->peer.uid;
	msg->pid = (uint32_t)session->peer.pid;
	msg->attached_ns = capture->attached_ns;
	if (!policy_shows_counts(capture->channel->config,
				 &report->session->peer)) {
		msg->seen = 0;
		msg->filtered = 0;
	}
	return session_add(report->session, &msg->msg, NR_MSG_CAPTURE,
			   sizeof(*msg));
}

/* The capture behind an id, if it still is there. */
static const struct capture *find_capture(const struct control *control,
					  uint32_t id)
{
	const struct session *session;

	for (session = control->sessions; session; session = session->next)
		if (session->capture && session->capture->id == id)
			return session->capture;
	return NULL;
}

static bool add_form_channels(struct report *report, struct form *form)
{
	for (uint32_t i = 0; i < form->command.channel_count; i++)
		if (!add_channel_lane(report, &form->command.channels[i].msg))
			return false;
	return true;
}

static bool add_form_captures(struct report *report, struct form *form)
{
	for (uint32_t i = 0; i < form->command.entry_count; i++) {
		const struct capture *capture = find_capture(
			report->session->control, form->captures[i].capture_id);

		if (capture &&
		    !add_capture(report, capture, &form->captures[i]))
			return false;
	}
	return true;
}

static bool add_all(struct report *report)
{
	bool ok = true;
	uint32_t i;

	for (i = 0; i < report->form_count && ok; i++)
		if (report->forms[i].command.source)
			ok = add_source(report, &report->forms[i]);
	for (i = 0; i < report->form_count && ok; i++)
		ok = add_form_channels(report, &report->forms[i]);
	for (i = 0; i < report->form_count && ok; i++)
		ok = add_form_captures(report, &report->forms[i]);
	return ok;
}

static void form_is_done(struct lane_command *command)
{
	struct form *form = command->owner;
	struct report *report = form->report;
	struct session *session = report->session;
	bool ok;

	if (--report->pending > 0)
		return;
	if (session->state == SESSION_CLOSING) {
		report_free(report);
		session_settle(session);
		return;
	}
	session->pending--;
	ok = add_all(report);
	report_free(report);
	if (ok)
		session_send(session);
	else
		session_refuse(session, ENOMEM,
			       "the broker has no memory left");
}

/*
 * Lays out entries for the channels that hang on @lane. All that the answer
 * says of them is copied: they may be gone when it is sent.
 */
static int list_channels(struct form *form, const struct lane *lane)
{
	const struct session *session = form->report->session;
	struct control_channel *channel;
	uint32_t count = 0;

	for (channel = session->control->channels; channel;
	     channel = channel->next)
		count++;
	form->command.channels = calloc(count + 1, sizeof(struct stat_channel));
	if (!form->command.channels)
		return -ENOMEM;
	for (channel = session->control->channels; channel;
	     channel = channel->next) {
		struct stat_channel *stat =
			&form->command.channels[form->command.channel_count];

		if (channel->source != form->source ||
		    !is_asked(form->report, channel))
			continue;
		stat->channel = &channel->lane_channels[lane->number];
		copy_name(stat->msg.channel, sizeof(stat->msg.channel),
			  channel->config->name);
		stat->msg.counts_shown =
			policy_shows_counts(channel->config, &session->peer);
		form->command.channel_count++;
	}
	return 0;
}

/* Lays out entries for the captures that hang on @lane. */
static int list_captures(struct form *form, const struct lane *lane)
{
	struct session *session = form->report->session->control->sessions;
	uint32_t count = 0;

	for (; session; session = session->next)
		count++;
	form->captures = calloc(count, sizeof(*form->captures));
	form->command.entries = calloc(count, sizeof(struct stat_entry));
	if (!form->captures || !form->command.entries)
		return -ENOMEM;
	session = form->report->session->control->sessions;
	for (; session; session = session->next) {
		struct capture *capture = session->capture;

		if (!capture || !is_asked(form->report, capture->channel))
			continue;
		for (uint32_t i = 0; i < capture->lane_count; i++) {
			uint32_t n = form->command.entry_count;

			if (capture->lanes[i].lane != lane ||
			    !capture->lanes[i].is_attached)
				continue;
			form->captures[n].capture_id = capture->id;
			form->captures[n].lane = lane->number;
			form->command.entries[n].channel =
				&capture->channel->lane_channels[lane->number];
			form->command.entries[n].sub = &capture->lanes[i].sub;
			form->command.entries[n].msg = &form->captures[n];
			form->command.entry_count++;
		}
	}
	return 0;
}

static int lay_out(struct report *report, struct control_source *source)
{
	bool shows = shows_source(report, source);

	for (uint32_t l = 0; l < source->lane_count; l++) {
		struct form *form = &report->forms[report->form_count++];
		struct lane *lane = &source->lanes[l];

		form->report = report;
		form->source = source;
		form->command.base.run = lane_stat;
		form->command.base.done = form_is_done;
		form->command.base.owner = form;
		form->command.base.lane = lane;
		form->command.source = shows ? &form->msg : NULL;
		if (list_channels(form, lane) || list_captures(form, lane))
			return -ENOMEM;
	}
	return 0;
}

static bool is_concerned(const struct report *report,
			 const struct control_source *source)
{
	const struct control_channel *channel =
		report->session->control->channels;

	for (; channel; channel = channel->next)
		if (channel->source == source && is_asked(report, channel))
			return true;
	return false;
}

static struct report *report_new(struct session *session, const char *channel)
{
	struct control *control = session->control;
	struct control_source *source;
	struct report *report;
	uint32_t lanes = 0;

	for (source = control->sources; source; source = source->next)
		lanes += source->lane_count;
	report = calloc(1, sizeof(*report) + lanes * sizeof(struct form));
	if (!report)
		return NULL;
	report->session = session;
	control->report_count++;
	copy_name(report->channel, sizeof(report->channel), channel);
	for (source = control->sources; source; source = source->next) {
		if (!is_concerned(report, source))
			continue;
		if (lay_out(report, source)) {
			report_free(report);
			return NULL;
		}
	}
	return report;
}

static bool add_broker(struct session *session)
{
	const struct control *control = session->control;
	struct nr_msg_broker msg = {
		.started_ns = control->started_ns,
		.died_ns = control->died_ns,
		.restarts = control->restarts,
	};

	return session_add(session, &msg.msg, NR_MSG_BROKER, sizeof(msg));
}

void report_stat(struct session *session, const char *channel)
{
	struct report *report =
		add_broker(session) ? report_new(session, channel) : NULL;

	if (!report) {
		session_refuse(session, ENOMEM,
			       "the broker has no memory left");
		return;
	}
	if (report->form_count == 0) {
		report_free(report);
		session_send(session);
		return;
	}
	session->state = SESSION_REPORTING;
	session->deadline_ns = 0;
	session->pending++;
	report->pending = report->form_count;
	for (uint32_t i = 0; i < report->form_count; i++)
		lane_send(report->forms[i].command.base.lane,
			  &report->forms[i].command.base);
}
