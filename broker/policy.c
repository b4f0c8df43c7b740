// SPDX-License-Identifier: BSD-2-Clause
/* Rights come from who the peer is, never from what it asks for. */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "flow.h"
#include "log.h"
#include "priv.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

static int read_groups(struct peer *peer, int socket)
{
	socklen_t length = 0;

	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) &&
	    errno != ERANGE)
		return -errno;
	if (length == 0)
		return 0;
	peer->groups = malloc(length);
	if (!peer->groups)
		return -ENOMEM;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer->groups,
		       &length))
		return -errno;
	peer->group_count = length / sizeof(gid_t);
	return 0;
}

int peer_init(struct peer *peer, int socket, uid_t owner)
{
	struct ucred cred;
	socklen_t length = sizeof(cred);
	int err;

	*peer = (struct peer){ .comm = "?" };
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &length))
		return -errno;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	peer->pid = cred.pid;
	/* What runs as root may do without a broker what it may do here. */
	peer->is_owner = cred.uid == 0 || cred.uid == owner;
	err = read_groups(peer, socket);
	if (err) {
		peer_deinit(peer);
		return err;
	}
	/* No file is to be had here. One that has gone has no name. */
	(void)priv_process_name(peer->pid, peer->comm);
	log_escape(peer->comm_text, sizeof(peer->comm_text), peer->comm,
		   strlen(peer->comm));
	return 0;
}

void peer_deinit(struct peer *peer)
{
	free(peer->groups);
	peer->groups = NULL;
	peer->group_count = 0;
}

static bool is_member(const struct peer *peer, gid_t gid)
{
	if (peer->gid == gid)
		return true;
	for (uint32_t i = 0; i < peer->group_count; i++)
		if (peer->groups[i] == gid)
			return true;
	return false;
}

bool policy_allows(const struct config *config,
		   const struct config_channel *channel,
		   const struct peer *peer)
{
	if (peer->is_owner || channel->allow_everyone)
		return true;
	if (channel->allow_count == 0)
		return config->socket_gid_set &&
		       is_member(peer, config->socket_gid);
	for (uint32_t i = 0; i < channel->allow_count; i++) {
		const struct config_allow *allow = &channel->allow[i];

		if (allow->is_group ? is_member(peer, allow->id) :
				      peer->uid == allow->id)
			return true;
	}
	return false;
}

/* Whether somebody besides the owner may attach. */
static bool lets_in(const struct config *config,
		    const struct config_channel *channel)
{
	return channel->allow_everyone || channel->allow_count > 0 ||
	       config->socket_gid_set;
}

void policy_warn(const struct config *config,
		 const struct config_channel *channel, bool has_privilege)
{
	if (!lets_in(config, channel))
		log_warn("channel %s lets nobody in but %s: it has no 'allow', "
			 "and there is no group for the socket ('group =')",
			 channel->name,
			 has_privilege ? "root" : "who runs the broker");
	if (channel->snaplen && channel->snaplen < FLOW_BYTES)
		log_warn("channel %s: snaplen = %u can cut off addresses and "
			 "ports (%d bytes and more): the flow hash of such a "
			 "packet is of what is left of it; groups still go by "
			 "whole flows",
			 channel->name, channel->snaplen, FLOW_BYTES);
}

static bool names(const struct config *config,
		  const struct config_channel *channel,
		  const struct config_allow *who)
{
	if (channel->allow_count == 0)
		return config->socket_gid_set && who->is_group &&
		       who->id == config->socket_gid;
	for (uint32_t i = 0; i < channel->allow_count; i++)
		if (channel->allow[i].is_group == who->is_group &&
		    channel->allow[i].id == who->id)
			return true;
	return false;
}

/* Who is named twice over (a user, and a group it is in) counts as named. */
bool policy_narrows(const struct config *old_config,
		    const struct config_channel *old,
		    const struct config *new_config,
		    const struct config_channel *new)
{
	const struct config_allow group = { true, old_config->socket_gid };

	if (new->allow_everyone || !lets_in(old_config, old))
		return false;
	if (old->allow_everyone)
		return true;
	if (old->allow_count == 0)
		return !names(new_config, new, &group);
	for (uint32_t i = 0; i < old->allow_count; i++)
		if (!names(new_config, new, &old->allow[i]))
			return true;
	return false;
}

bool policy_shows_counts(const struct config_channel *channel,
			 const struct peer *peer)
{
	return peer->is_owner || channel->show_counts;
}
