// SPDX-License-Identifier: BSD-2-Clause
/*
 * The engine: takes its configuration from the warden, makes itself
 * untraceable, locks itself in, and only then opens its sources, as what is in
 * them (a file's bytes) is not to be trusted. Then it serves.
 */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "log.h"
#include "priv.h"
#include "region.h"
#include "ring_mapper.h"
#include "sandbox.h"
#include "session.h"

/* 0, or -errno; -EBADF: whoever started us gave us none. */
static int map_config(const struct config **config)
{
	struct stat stat;

	if (fstat(PRIV_FD_CONFIG, &stat))
		return -errno;
	if (stat.st_size != (off_t)sizeof(**config))
		return -EBADF;
	*config = mmap(NULL, sizeof(**config), PROT_READ, MAP_SHARED,
		       PRIV_FD_CONFIG, 0);
	return *config == MAP_FAILED ? -errno : 0;
}

/*
 * The warden says by doing: where it cannot make the first return page it has
 * no privilege, and the engine has its user's.
 */
static void find_privilege(struct control *control)
{
	int fd, err;

	control->own_uid = geteuid();
	err = priv_return_pages(1, &fd);
	if (err == 0)
		close(fd);
	/* Out of memory, or of those it may make, is another thing. */
	control->has_privilege =
		err != -EPERM && err != -EACCES && err != -ENOSYS;
	if (control->has_privilege)
		return;
	control->owner = control->own_uid;
	log_warn("without privilege: a consumer of the same user can stall or "
		 "trace this broker; serve others only as root");
}

/* The epochs of this engine's streams are behind those of all before it. */
static int ask_which(struct control *control)
{
	struct priv_reply reply;
	int err = priv_start(&reply);

	control->restarts = reply.start.restarts;
	control->died_ns = reply.start.died_ns;
	control->started_ns = clock_ns(CLOCK_REALTIME);
	return err;
}

/* No thread but these two is there yet: each shuts the door behind itself. */
static int lock_in(const struct control *control)
{
	int err = ring_mapper_start();

	/* Who has no privilege may not be let to, and can do without: a file
	 * has no ring. */
	if (err && control->has_privilege) {
		log_error("engine: cannot start the thread that maps rings: %s",
			  strerror(-err));
		return err;
	}
	err = sandbox_enter(control->has_privilege);
	if (err)
		log_error("engine: cannot lock itself in: %s", strerror(-err));
	return err;
}

static void serve(struct control *control, const struct config *config)
{
	int err = control_start(control);

	if (err) {
		log_error("engine: cannot start a lane: %s", strerror(-err));
		return;
	}
	if (priv_ready())
		return;
	log_info("serving %u channels of %u sources on %s",
		 config->channel_count, config->source_count, config->socket);
	control_run(control);
}

int engine_run(void)
{
	struct control *control = calloc(1, sizeof(*control));
	const struct config *config = NULL;
	int err = control ? map_config(&config) : -ENOMEM;

	if (!err)
		err = region_init();
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "netring-engine");
	if (err) {
		log_error("engine: %s", err == -EBADF ?
						"not started by netringd's "
						"warden" :
						strerror(-err));
		free(control);
		return 1;
	}
	find_privilege(control);
	err = ask_which(control);
	if (!err)
		err = control_init(control, config);
	if (!err)
		err = lock_in(control);
	if (!err)
		err = control_open(control);
	if (!err) {
		serve(control, config);
		control_stop(control);
	}
	control_deinit(control);
	free(control);
	return err ? 1 : 0;
}
