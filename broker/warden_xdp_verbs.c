// SPDX-License-Identifier: BSD-2-Clause
/*
 * The verbs of AF_XDP: which lane is meant, what it may have, and what of it
 * goes to the engine.
 */
#include <errno.h>

#include "warden_held.h"
#include "warden_verbs.h"

/* A lane of an AF_XDP source, as a request names it. */
struct xdp_lane {
	const struct config_source *source;
	struct xdp_socket *socket;
	struct redirection *redirection;
};

static struct xdp_lane requested_xdp(struct warden *warden,
				     const struct priv_request *request)
{
	const struct config_source *source =
		warden_requested_source(warden, request, BACKEND_XDP);

	if (request->interface >= source->interface_count ||
	    request->lane >= source->lanes)
		warden_surprise(warden, "lane");
	return (struct xdp_lane){
		.source = source,
		.socket = &warden->xdp_sockets[request->source]
					      [request->interface *
						       source->lanes +
					       request->lane],
		.redirection = &warden->redirections[request->source]
						    [request->interface],
	};
}

static unsigned may_rest(const struct warden *warden)
{
	return warden->was_ready ? XDP_MAY_REST : 0;
}

/*
 * What has become of an interface since an engine had it, the next learns when
 * it opens a lane: what captures have to do with it is there before.
 */
static unsigned may_be_anyhow(const struct warden *warden)
{
	bool is_next = warden->was_ready && warden->ready_ns == 0;

	return is_next ? XDP_ANYHOW : may_rest(warden);
}

int asroot_xumem(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);
	int err;

	if (held_frames() >= warden->umems_held) {
		redirect_refuse(
			lane.redirection,
			"source %s: what engines before this one had of "
			"frames is held by somebody yet: no more are "
			"made until it is given back",
			lane.source->name);
		return -ENOSPC;
	}
	err = asroot_xdp_umem(lane.source, request->interface, request->lane,
			      may_be_anyhow(warden), lane.socket,
			      lane.redirection, &warden->umems_left, reply);

	if (err)
		return err;
	fds[0] = lane.socket->next_umem.fd;
	return 1;
}

int asroot_xclose(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);
	/* Whichever lane is named: those of this interface. */
	struct xdp_socket *first = lane.socket - request->lane;

	(void)reply;
	(void)fds;
	for (uint32_t i = 0; i < lane.source->lanes; i++)
		asroot_xdp_release(&first[i]);
	redirect_detach(lane.redirection);
	return 0;
}

int asroot_xopen(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);
	unsigned flags =
		(request->count ? XDP_NEW_FRAMES : 0) | may_rest(warden);
	int err =
		asroot_xdp_open(lane.source, request->interface, request->lane,
				flags, lane.socket, lane.redirection, reply);

	if (err)
		return err;
	fds[0] = reply->xdp.rests ? lane.socket->umem.fd : lane.socket->fd;
	fds[1] = lane.socket->umem.fd;
	return 2;
}

int asroot_xtake(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);

	(void)fds;
	return asroot_xdp_take(lane.source, request->interface, request->lane,
			       lane.socket, lane.redirection, request->count,
			       reply);
}

int asroot_xstats(struct warden *warden, const struct priv_request *request,
		  struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);

	(void)fds;
	return asroot_xdp_stats(lane.source, request->interface, lane.socket,
				lane.redirection, reply);
}

int asroot_xlink(struct warden *warden, const struct priv_request *request,
		 struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);

	(void)fds;
	asroot_xdp_link(lane.source, request->interface, lane.socket,
			lane.redirection, reply);
	return 0;
}
