// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a capture asks for, and what its user may have of it. Each refusal says
 * what there is, what was asked for, and by which key it can be changed.
 */
#include <errno.h>
#include <string.h>

#include "capture.h"

#define LEASES_DEFAULT 64u
#define GUARANTEE_DEFAULT 2u

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Also empty: no group. */
static bool is_group_name(const char name[NR_GROUP_MAX])
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

	return memchr(name, '\0', NR_GROUP_MAX) &&
	       name[strspn(name, good)] == '\0';
}

int terms_read(struct session *session, const struct control_channel *channel,
	       const struct nr_msg_attach *request, struct terms *terms)
{
	uint32_t lanes = channel->source->lane_count;

	terms->leases = request->leases ? request->leases : LEASES_DEFAULT;
	terms->guarantee = request->guarantee ?
				   request->guarantee :
				   smaller(GUARANTEE_DEFAULT, terms->leases);
	if (terms->leases > NR_LEASES_MAX || terms->guarantee > terms->leases) {
		session_refuse(session, EINVAL,
			       "%u leases, of them %u guaranteed: leases are 1 "
			       "to %d, and no less than the guarantee",
			       terms->leases, terms->guarantee, NR_LEASES_MAX);
		return 1;
	}
	terms->budget = terms->leases - terms->guarantee;
	terms->follows = request->flags & NR_ATTACH_FOLLOWS;
	if (request->budget)
		terms->budget = smaller(terms->budget, request->budget);
	terms->first_lane = request->lane == NR_ALL_LANES ? 0 : request->lane;
	terms->lane_count = request->lane == NR_ALL_LANES ? lanes : 1;
	terms->membership.uid = session->peer.uid;
	terms->membership.epoch = session->control->restarts * NR_EPOCH_ENGINE;
	memcpy(terms->membership.name, request->group, NR_GROUP_MAX);
	if (!is_group_name(terms->membership.name)) {
		session_refuse(session, EINVAL,
			       "a group's name has up to %d letters, digits, "
			       "'_', '-' and '.'",
			       NR_GROUP_MAX - 1);
		return 1;
	}
	if (terms->first_lane < lanes)
		return 0;
	session_refuse(session, ENOENT,
		       "channel '%s' has no lane %u: its lanes are 0 to %u",
		       channel->config->name, terms->first_lane, lanes - 1);
	return 1;
}

int terms_fit_quotas(struct session *session, const struct terms *terms)
{
	const struct config *config = session->control->config;
	const struct account *account = session->account;
	uint32_t guaranteed = terms->guarantee * terms->lane_count;

	if (account->captures >= config->max_captures) {
		session_refuse(session, ENOSPC,
			       "user %u has %u captures, as many as a user may "
			       "have (max_captures)",
			       account->uid, account->captures);
		return 1;
	}
	if (account->guaranteed + guaranteed > config->max_guaranteed) {
		session_refuse(session, ENOSPC,
			       "user %u has %u blocks guaranteed and asks for "
			       "%u more: a user may have %u (max_guaranteed)",
			       account->uid, account->guaranteed, guaranteed,
			       config->max_guaranteed);
		return 1;
	}
	return 0;
}

/* What it draws from a lane's set-aside: a group's member has a stream. */
static uint32_t drawn_by(const struct terms *terms)
{
	return terms->guarantee + (terms->membership.name[0] != '\0');
}

/* What its channel draws from on @lane: loaned ones share an account. */
static const struct admission *account_on(const struct control_channel *channel,
					  const struct lane *lane)
{
	return channel->arenas[lane->number]->admission.account;
}

/* Blocks drawn by this user from @account on @lane, by any channel. */
static uint32_t guaranteed_on(const struct session *session,
			      const struct admission *account,
			      const struct lane *lane)
{
	const struct session *other = session->control->sessions;
	uint32_t blocks = 0;

	for (; other; other = other->next) {
		const struct capture *capture = other->capture;

		if (!capture || other->account != session->account ||
		    capture == session->capture)
			continue;
		for (uint32_t i = 0; i < capture->lane_count; i++)
			if (capture->lanes[i].lane == lane &&
			    capture->lanes[i].is_user &&
			    account_on(capture->channel, lane) == account)
				blocks += drawn_by(&capture->terms);
	}
	return blocks;
}

/*
 * One user cannot be promised all of a lane's set-aside: an eighth is left for
 * others, who could else not attach at all. The owner may have it.
 */
int terms_fit_share(struct session *session,
		    const struct control_channel *channel,
		    const struct terms *terms)
{
	for (uint32_t i = 0; i < terms->lane_count; i++) {
		uint32_t number = terms->first_lane + i;
		const struct lane *lane = &channel->source->lanes[number];
		const struct admission *account = account_on(channel, lane);
		uint32_t most =
			account->set_aside - (account->set_aside + 7) / 8;
		uint32_t has = guaranteed_on(session, account, lane);

		if (session->peer.is_owner || has + drawn_by(terms) <= most)
			continue;
		session_refuse(
			session, ENOSPC,
			"channel '%s' has guaranteed %u blocks a lane to "
			"user %u%s, who asks for %u more: of %u that are "
			"set aside one user may have %u",
			channel->config->name, has, session->peer.uid,
			channel->arenas[number]->frames ?
				" (with others that share its frames)" :
				"",
			drawn_by(terms), account->set_aside, most);
		return 1;
	}
	return 0;
}

void terms_refuse_memory(struct session *session,
			 const struct control_channel *channel, int err)
{
	if (err == -EDQUOT)
		session_refuse(
			session, ENOSPC,
			"user %u has %llu bytes of rings and return "
			"pages: a user may have %llu (max_memory)",
			session->account->uid,
			(unsigned long long)session->account->memory,
			(unsigned long long)session->account->max_memory);
	else if (err == REGION_NO_HUGE_PAGES)
		session_refuse(session, ENOMEM,
			       "channel '%s': no huge pages for %llu bytes; "
			       "reserve some (vm.nr_hugepages) or set "
			       "'small_pages = yes' for its source",
			       channel->config->name,
			       (unsigned long long)channel->config->arena_size);
	else
		session_refuse(
			session, ENOMEM,
			"channel '%s': no memory for its %llu bytes (%s)",
			channel->config->name,
			(unsigned long long)channel->config->arena_size,
			strerror(err < 0 ? -err : ENOMEM));
}

/* It would get no packets: the host has them, or what else @err says. */
void terms_refuse_packets(struct session *session,
			  const struct capture *capture, int err)
{
	const char *name = capture->channel->config->name;
	const struct config_source *source = capture->channel->source->config;

	if (err == -EADDRINUSE)
		session_refuse(session, -err,
			       "channel '%s' has no packets: the host needs "
			       "those of its interface (%s%s), which has an "
			       "address or the default route, and AF_XDP would "
			       "take them. Source '%s' can be set exclusive = "
			       "yes",
			       name, source->interfaces[0],
			       source->interface_count > 1 ? ", ..." : "",
			       source->name);
	else
		session_refuse(session, -err,
			       "channel '%s': the packets of source '%s' "
			       "cannot be taken: %s",
			       name, source->name, strerror(-err));
}
